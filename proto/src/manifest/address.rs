//! Which addresses are everybody's, which are those of private networks, and which are neither.
//!
//! What IANA's registries of special addresses do not give to everybody is not public. In IPv6 that is said the other way round: only
//! what was given out is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Reach;

/// IPv4 networks that are nobody's on the Internet: the first address and the length of its prefix.
const SPECIAL: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// IPv6 networks that were given out, and not to everybody: protocols, documentation.
const SPECIAL_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Where clouds tell their machines their secrets, if not at an address of one link: Azure and Alibaba. They lie in networks that are
/// everybody's or shared ones, and nobody means them who does not name them.
const SECRETS: [(Ipv4Addr, u32); 2] =
    [(Ipv4Addr::new(168, 63, 129, 16), 32), (Ipv4Addr::new(100, 100, 100, 200), 32)];

/// The same by IPv6, in private networks: Amazon, Google, Oracle and Scaleway.
const SECRETS_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0), 32),
];

/// Shared by the customers of one provider.
const SHARED: (Ipv4Addr, u32) = (Ipv4Addr::new(100, 64, 0, 0), 10);

/// What was given out of IPv6.
const GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// By which gateways reach IPv4: NAT64, and 6to4.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
const SIX_TO_FOUR: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);

impl Reach {
    /// Whether an address may be connected to.
    pub fn admits(self, address: IpAddr) -> bool {
        match self {
            Reach::Public => is_public(address) && !tells_secrets(address),
            Reach::Private => (is_public(address) || is_private(address)) && !tells_secrets(address),
            Reach::Named => true,
        }
    }
}

/// Whether it is one of a private network, or of the machine itself. Those of one link are not: what answers there, such as what tells
/// machines in a cloud their secrets, nobody means who names a host of his.
fn is_private(address: IpAddr) -> bool {
    match meant(address) {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || is_in_v4(address, SHARED),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    }
}

fn tells_secrets(address: IpAddr) -> bool {
    match meant(address) {
        IpAddr::V4(address) => SECRETS.iter().any(|network| is_in_v4(address, *network)),
        IpAddr::V6(address) => SECRETS_V6.iter().any(|network| is_in(address, *network)),
    }
}

fn is_public(address: IpAddr) -> bool {
    match meant(address) {
        IpAddr::V4(address) => !SPECIAL.iter().any(|network| is_in_v4(address, *network)),
        IpAddr::V6(address) => {
            is_in(address, GLOBAL) && !SPECIAL_V6.iter().any(|network| is_in(address, *network))
        }
    }
}

/// The address that packets come to in the end.
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address.to_canonical() else { return address.to_canonical() };
    let bits = six.to_bits();
    let four = |shift: u32| {
        let bits = u32::try_from((bits >> shift) & u128::from(u32::MAX));
        bits.map_or(address, |bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
    };
    if is_in(six, NAT64) {
        four(0)
    } else if is_in(six, SIX_TO_FOUR) {
        four(80)
    } else {
        address
    }
}

fn is_in_v4(address: Ipv4Addr, (network, prefix): (Ipv4Addr, u32)) -> bool {
    (address.to_bits() ^ network.to_bits()) >> (32 - prefix) == 0
}

fn is_in(address: Ipv6Addr, (network, prefix): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ network.to_bits()) >> (128 - prefix) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_everybodys_is_public() {
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "::ffff:1.1.1.1",
        ] {
            let address = text.parse().unwrap();
            assert!(Reach::Public.admits(address) && Reach::Private.admits(address), "{text}");
        }
        for text in [
            "10.0.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fc00::1",
            "fdff::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "2002:7f00:1::1",
        ] {
            let address = text.parse().unwrap();
            assert!(!Reach::Public.admits(address), "{text}");
            assert!(Reach::Private.admits(address), "{text}");
        }
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "100::1",
            "4000::1",
            "64:ff9b:1::1.1.1.1",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::ffff:169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:ec2::23",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "64:ff9b::a83f:8110",
            "::ffff:100.100.100.200",
        ] {
            let address = text.parse().unwrap();
            assert!(!Reach::Public.admits(address) && !Reach::Private.admits(address), "{text}");
            assert!(Reach::Named.admits(address), "{text}");
        }
    }
}
