//! `grants.http`: which servers an actor may ask by HTTP, and by which addresses.
//!
//! Rules:
//! 1. A server is a scheme, a host and a port. Of a host there is one spelling here: names in small letters without a last dot,
//!    addresses as they are shown. What only looks like an address in another spelling is none, and no name either.
//! 2. Whoever may ask a server by its name reaches it by public addresses. A private one is reached where the manifest names the host
//!    and says so, or names the address itself.
//! 3. A pattern never names an address of private networks: whoever makes names below a suffix would choose where it leads.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Host;

/// Servers that an actor may ask.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HttpGrant {
    /// Which.
    pub url: Servers,
    /// Whether the host may have addresses of private networks, or of the node itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
}

/// Servers by a pattern, such as `https://api.example.com`, `http://*.internal.example:8080` or `https://*:*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Servers {
    scheme: HttpScheme,
    host: Hosts,
    /// None is any.
    port: Option<u16>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// How it is spoken to.
    pub scheme: HttpScheme,
    /// Where it is.
    pub host: ServerHost,
    /// At which port.
    pub port: u16,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpScheme {
    /// In the clear.
    Http,
    /// By TLS.
    Https,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerHost {
    /// In small letters, and without a dot at the end.
    Name(String),
    /// An IPv4 one that is written as IPv6 is the same.
    Address(IpAddr),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Hosts {
    Any,
    Named(Host),
    Address(IpAddr),
}

/// By which addresses a server may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Those by which everybody reaches it.
    Public,
    /// Those of private networks and of the node itself as well.
    Private,
    /// The one that the manifest, or an operator, names, whatever it is.
    Named,
}

impl HttpScheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            HttpScheme::Http => "http",
            HttpScheme::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            HttpScheme::Http => 80,
            HttpScheme::Https => 443,
        }
    }
}

impl FromStr for HttpScheme {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "http" => Ok(HttpScheme::Http),
            "https" => Ok(HttpScheme::Https),
            _ => Err("expected `http` or `https`"),
        }
    }
}

impl Server {
    /// The server that a URL of this scheme and with this authority is at.
    ///
    /// # Errors
    /// Where it names none with certainty.
    pub fn new(scheme: HttpScheme, authority: &str) -> Result<Self, &'static str> {
        let (host, port) = split(authority)?;
        let port = match port {
            None => scheme.port(),
            Some(port) => number(port)?,
        };
        Ok(Self { scheme, host: host.parse()?, port })
    }

    /// The host, and the port where that is not the scheme's own.
    pub fn authority(&self) -> String {
        match self.port == self.scheme.port() {
            true => self.host.to_string(),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

impl fmt::Display for ServerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerHost::Name(name) => f.write_str(name),
            ServerHost::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            ServerHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl FromStr for ServerHost {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
            let address =
                address.ok_or("expected an IPv6 address between the brackets, such as `[2001:db8::1]`")?;
            return Ok(ServerHost::Address(IpAddr::V6(address).to_canonical()));
        }
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(ServerHost::Address(address));
        }
        // Systems take these for addresses: `127.1`, `0x7f.1` and `2130706433` are one and the same to them.
        let last = text.rsplit('.').next().unwrap_or_default();
        let is_number = |text: &str, digit: fn(&u8) -> bool| text.as_bytes().iter().all(digit);
        let is_hexadecimal =
            last.strip_prefix("0x").is_some_and(|digits| is_number(digits, u8::is_ascii_hexdigit));
        if is_hexadecimal || is_number(last, u8::is_ascii_digit) {
            return Err("expected an IPv4 address to be written as four numbers, such as `192.0.2.1`");
        }
        match text.parse::<Host>() {
            Ok(_) if !text.starts_with('*') => Ok(ServerHost::Name(text)),
            _ => Err("expected the name of a host, or an address"),
        }
    }
}

/// What is before the port, and the port as it is written.
fn split(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if authority.contains('@') {
        return Err("expected no user before the host");
    }
    match authority.rsplit_once(':') {
        // Of an IPv6 address the last colon may be its own.
        Some((host, port)) if !port.ends_with(']') => Ok((host, Some(port))),
        _ => Ok((authority, None)),
    }
}

fn number(port: &str) -> Result<u16, &'static str> {
    let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let number = port.parse().ok().filter(|port| is_number && *port > 0);
    number.ok_or("expected a port from 1 to 65535")
}

impl FromStr for Servers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "expected a URL without a path, such as `https://api.example.com`, `http://*.internal.example:8080`, \
                             `http://10.0.0.5:9000` or `https://*`; the port `:*` is any";
        let (scheme, authority) = text.split_once("://").ok_or(SHAPE)?;
        let scheme: HttpScheme = scheme.parse()?;
        let (host, port) = split(authority)?;
        let port = match port {
            None => Some(scheme.port()),
            Some("*") => None,
            Some(port) => Some(number(port)?),
        };
        let host = match host {
            "*" => Hosts::Any,
            _ if host.contains('/') || host.ends_with('.') => return Err(SHAPE.to_owned()),
            _ if host.starts_with('*') => Hosts::Named(host.parse()?),
            _ => match host.parse()? {
                ServerHost::Address(address) => Hosts::Address(address),
                // As it was written: capital letters are a mistake, as elsewhere in the manifest.
                ServerHost::Name(_) => Hosts::Named(host.parse()?),
            },
        };
        Ok(Self { scheme, host, port })
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            Hosts::Any => f.write_str("*")?,
            Hosts::Named(host) => f.write_str(host.as_str())?,
            Hosts::Address(address) => write!(f, "{}", ServerHost::Address(*address))?,
        }
        match self.port {
            None => f.write_str(":*"),
            Some(port) if port == self.scheme.port() => Ok(()),
            Some(port) => write!(f, ":{port}"),
        }
    }
}

impl From<Servers> for String {
    fn from(servers: Servers) -> Self {
        servers.to_string()
    }
}

impl TryFrom<String> for Servers {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl HttpGrant {
    /// Servers by a pattern, by private addresses as well where that is said.
    ///
    /// # Errors
    /// Where that cannot be said of this pattern.
    pub fn new(url: Servers, private: bool) -> Result<Self, &'static str> {
        let names_one = matches!(&url.host, Hosts::Named(host) if !host.as_str().starts_with('*'));
        match private && !names_one {
            true => Err(
                "expected the exact name of one host beside `private = true`; an address is named by itself",
            ),
            false => Ok(Self { url, private }),
        }
    }

    /// By which addresses it lets a server be reached; none where it does not.
    fn reach(&self, server: &Server) -> Option<Reach> {
        let Servers { scheme, host, port } = &self.url;
        if *scheme != server.scheme || port.is_some_and(|port| port != server.port) {
            return None;
        }
        let by_name = if self.private { Reach::Private } else { Reach::Public };
        match (host, &server.host) {
            (Hosts::Any, _) => Some(Reach::Public),
            (Hosts::Named(host), ServerHost::Name(name)) => host.names(name).map(|_| by_name),
            (Hosts::Address(named), ServerHost::Address(address)) => {
                (named == address).then_some(Reach::Named)
            }
            _ => None,
        }
    }
}

/// By which addresses a server may be reached that somebody has these grants for; none where it may not be reached at all.
pub fn reach(grants: &[HttpGrant], server: &Server) -> Option<Reach> {
    grants.iter().filter_map(|grant| grant.reach(server)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Result<Server, &'static str> {
        let (scheme, authority) = url.split_once("://").unwrap();
        Server::new(scheme.parse().unwrap(), authority)
    }

    fn grants(urls: &[&str]) -> Vec<HttpGrant> {
        let grant = |url: &&str| {
            let (url, private) = url.strip_prefix("private ").map_or((*url, false), |url| (url, true));
            HttpGrant::new(url.parse().unwrap(), private).unwrap()
        };
        urls.iter().map(grant).collect()
    }

    #[test]
    fn a_server_is_granted_by_scheme_host_and_port() {
        let grants = grants(&[
            "https://api.example.com",
            "http://*.internal.example:8080",
            "http://10.0.0.5:9000",
            "http://any-port.example:*",
            "private http://backend.local:8080",
        ]);
        let table = [
            ("https://api.example.com", Some(Reach::Public)),
            ("https://API.example.com:443", Some(Reach::Public)),
            ("https://api.example.com.", Some(Reach::Public)),
            ("http://api.example.com", None),
            ("http://api.example.com:443", None),
            ("https://api.example.com:8443", None),
            ("https://evilapi.example.com", None),
            ("https://api.example.com.evil.example", None),
            ("http://a.internal.example:8080", Some(Reach::Public)),
            ("http://a.b.internal.example:8080", Some(Reach::Public)),
            ("http://internal.example:8080", None),
            ("http://evilinternal.example:8080", None),
            ("http://a.internal.example", None),
            ("http://10.0.0.5:9000", Some(Reach::Named)),
            ("http://[::ffff:10.0.0.5]:9000", Some(Reach::Named)),
            ("http://10.0.0.6:9000", None),
            ("http://any-port.example:1", Some(Reach::Public)),
            ("https://any-port.example:1", None),
            ("http://backend.local:8080", Some(Reach::Private)),
        ];
        for (url, wanted) in table {
            assert_eq!(reach(&grants, &server(url).unwrap()), wanted, "{url}");
        }
    }

    #[test]
    fn a_pattern_reaches_no_private_address_and_the_widest_grant_counts() {
        let wide = grants(&["http://*:*", "private http://backend.local:*", "http://127.0.0.1:*"]);
        for (url, wanted) in [
            ("http://127.0.0.1:1", Reach::Named),
            ("http://127.0.0.2:1", Reach::Public),
            ("http://[::1]:1", Reach::Public),
            ("http://backend.local", Reach::Private),
            ("http://localhost", Reach::Public),
        ] {
            assert_eq!(reach(&wide, &server(url).unwrap()), Some(wanted), "{url}");
        }
    }

    #[test]
    fn there_is_one_spelling_of_a_host() {
        for (url, wanted) in [
            ("http://EXAMPLE.com.:80", "http://example.com"),
            ("https://example.com:80", "https://example.com:80"),
            ("http://[2001:DB8:0:0::1]:81", "http://[2001:db8::1]:81"),
            ("http://[::ffff:127.0.0.1]", "http://127.0.0.1"),
            ("http://127.0.0.1.", "http://127.0.0.1"),
            ("http://xn--bcher-kva.example", "http://xn--bcher-kva.example"),
        ] {
            assert_eq!(server(url).unwrap().to_string(), wanted, "{url}");
        }
        for url in [
            "http://0x7f.1",
            "http://127.1",
            "http://2130706433",
            "http://0x7f000001",
            "http://0177.0.0.1",
            "http://127.0.0.0x1",
            "http://1.2.3.4.5",
            "http://example.0x",
            "http://user@example.com",
            "http://user:pass@127.0.0.1",
            "http://::1",
            "http://[::1",
            "http://[::1]x",
            "http://[fe80::1%25eth0]",
            "http://[127.0.0.1]",
            "http://example.com:0",
            "http://example.com:",
            "http://example.com:+80",
            "http://example.com:65536",
            "http://",
            "http://.",
            "http://a..b",
            "http://a b",
            "http://*.example.com",
            "http://a/b",
        ] {
            assert!(server(url).is_err(), "{url}: {:?}", server(url));
        }
    }

    #[test]
    fn grants_are_read_as_they_are_shown() {
        for text in [
            "https://api.example.com",
            "http://*.internal.example:8080",
            "http://10.0.0.5:9000",
            "http://[2001:db8::1]:*",
            "https://*",
            "http://*:*",
        ] {
            assert_eq!(text.parse::<Servers>().unwrap().to_string(), text);
        }
        assert_eq!("https://a.example:443".parse::<Servers>().unwrap().to_string(), "https://a.example");
        let grant = HttpGrant::new("http://b.local:*".parse().unwrap(), true).unwrap();
        let stored = serde_json::to_string(&grant).unwrap();
        assert_eq!(stored, r#"{"url":"http://b.local:*","private":true}"#);
        assert_eq!(serde_json::from_str::<HttpGrant>(&stored).unwrap(), grant);
    }

    #[test]
    fn what_names_no_servers_is_refused() {
        for text in [
            "",
            "api.example.com",
            "ftp://a.example",
            "HTTP://a.example",
            "https://",
            "https://a.example/",
            "https://a.example/path",
            "https://A.example",
            "https://a.example.",
            "https://a.*.example",
            "https://*a.example",
            "https://**",
            "https://u@a.example",
            "https://a.example:x",
            "https://0x7f.1",
            "https://2130706433",
            "https://[::1",
        ] {
            assert!(text.parse::<Servers>().is_err(), "{text}");
        }
        for text in ["http://*", "http://*.local", "http://10.0.0.5", "http://[::1]:80"] {
            assert!(HttpGrant::new(text.parse().unwrap(), true).is_err(), "{text}");
        }
    }
}
