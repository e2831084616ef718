//! How the admin API is secured, and where it may listen so. It says what belongs together; it opens no file.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Error, invalid};

/// What `--admin-…` flags say, and the table `[admin]` of the file says by the same names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminOptions {
    /// `--admin-tls-cert`
    pub tls_cert: Option<PathBuf>,
    /// `--admin-tls-key`
    pub tls_key: Option<PathBuf>,
    /// `--admin-client-ca`
    pub client_ca: Option<PathBuf>,
    /// `--admin-tokens`
    pub tokens: Option<PathBuf>,
    /// `--admin-insecure`
    pub insecure: bool,
}

/// Who gets in, checked for what belongs together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admin {
    /// Without, everything travels in the clear.
    pub tls: Option<Tls>,
    /// The file with the digests of tokens; without, no token is asked for.
    pub tokens: Option<PathBuf>,
    /// Whether the operator wants to be reached without protection.
    pub insecure: bool,
}

/// The files that TLS is made of, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// What shows the certificate, as operators know it.
    pub of: &'static str,
    /// The settings that name the three files, in this order.
    pub settings: [&'static str; 3],
    /// The node's certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whose certificates clients must have; without, they need none.
    pub client_ca: Option<PathBuf>,
}

impl Admin {
    /// Puts flags over the file, and checks what belongs together.
    pub(super) fn check(flags: AdminOptions, file: AdminOptions) -> Result<Self, Error> {
        let cert = flags.tls_cert.or(file.tls_cert);
        let key = flags.tls_key.or(file.tls_key);
        let client_ca = flags.client_ca.or(file.client_ca);
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => {
                let settings = ["--admin-tls-cert", "--admin-tls-key", "--admin-client-ca"];
                Some(Tls { of: "the admin API", settings, cert, key, client_ca })
            }
            (Some(_), None) => return Err(invalid("--admin-tls-cert", "give its --admin-tls-key as well")),
            (None, Some(_)) => return Err(invalid("--admin-tls-key", "give its --admin-tls-cert as well")),
            (None, None) if client_ca.is_some() => {
                let reason = "clients show certificates over TLS only; give --admin-tls-cert and --admin-tls-key as well";
                return Err(invalid("--admin-client-ca", reason));
            }
            (None, None) => None,
        };
        Ok(Self { tls, tokens: flags.tokens.or(file.tokens), insecure: flags.insecure || file.insecure })
    }

    /// Whether the admin API may listen at this address with so much protection.
    ///
    /// # Errors
    /// What is missing, when other machines could reach it and drive the lattice.
    pub fn permits(&self, address: SocketAddr) -> Result<(), Error> {
        // A loopback address may be written as an IPv6 one, too.
        if address.ip().to_canonical().is_loopback() || self.insecure {
            return Ok(());
        }
        let asked = |tls: &Tls| self.tokens.is_some() || tls.client_ca.is_some();
        let missing = match &self.tls {
            Some(tls) if asked(tls) => return Ok(()),
            Some(_) => {
                "anyone there could drive the lattice; give --admin-tokens FILE or --admin-client-ca FILE"
            }
            None if self.tokens.is_some() => {
                "tokens would travel in the clear; give --admin-tls-cert FILE and --admin-tls-key FILE"
            }
            None => {
                "anyone there could drive the lattice; give --admin-tls-cert FILE and --admin-tls-key FILE, and \
                 --admin-tokens FILE or --admin-client-ca FILE"
            }
        };
        let reason = format!(
            "{address} can be reached from other machines, and {missing}, or --admin-insecure if this is what \
             you want"
        );
        Err(invalid("--listen", reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> AdminOptions {
        let file = |word: &str| words.contains(&word).then(|| PathBuf::from(word));
        AdminOptions {
            tls_cert: file("cert"),
            tls_key: file("key"),
            client_ca: file("ca"),
            tokens: file("tokens"),
            insecure: words.contains(&"insecure"),
        }
    }

    fn admin(words: &[&str]) -> Result<Admin, Error> {
        Admin::check(options(words), AdminOptions::default())
    }

    #[test]
    fn beyond_loopback_it_takes_tls_and_somebody_to_trust() {
        let everywhere: SocketAddr = "0.0.0.0:7700".parse().unwrap();
        for enough in [
            &["cert", "key", "tokens"][..],
            &["cert", "key", "ca"],
            &["cert", "key", "ca", "tokens"],
            &["insecure"],
            &["tokens", "insecure"],
        ] {
            assert!(admin(enough).unwrap().permits(everywhere).is_ok(), "{enough:?}");
        }
        for (little, missing) in [
            (&[][..], "--admin-tls-cert"),
            (&["tokens"], "--admin-tls-key"),
            (&["cert", "key"], "--admin-tokens"),
        ] {
            let error = admin(little).unwrap().permits(everywhere).unwrap_err().to_string();
            assert!(error.contains(missing) && error.contains("--admin-insecure"), "{error}");
        }
    }

    #[test]
    fn on_loopback_nothing_is_asked_for() {
        for address in ["127.0.0.1:7700", "127.9.9.9:1", "[::1]:7700", "[::ffff:127.0.0.1]:7700"] {
            assert!(Admin::default().permits(address.parse().unwrap()).is_ok(), "{address}");
        }
        for address in ["192.0.2.1:7700", "[::]:7700", "[::ffff:192.0.2.1]:7700"] {
            assert!(Admin::default().permits(address.parse().unwrap()).is_err(), "{address}");
        }
    }

    #[test]
    fn what_belongs_together_comes_together() {
        for (alone, missing) in
            [("cert", "--admin-tls-key"), ("key", "--admin-tls-cert"), ("ca", "--admin-tls-cert")]
        {
            let error = admin(&[alone]).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
        let mixed = Admin::check(options(&["cert"]), options(&["key", "tokens"])).unwrap();
        assert!(mixed.tls.is_some() && mixed.tokens.is_some());
    }
}
