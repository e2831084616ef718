//! Where the HTTP gateway listens, and with what certificate. It says what belongs together; it opens no file.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Error, Tls, invalid};

/// What `--http…` flags say, and the table `[http]` of the file says by the same names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpOptions {
    /// `--http`
    pub listen: Option<String>,
    /// `--http-tls-cert`
    pub tls_cert: Option<PathBuf>,
    /// `--http-tls-key`
    pub tls_key: Option<PathBuf>,
    /// `--http-access-log`
    pub access_log: bool,
}

/// The gateway of a node that has one, checked for what belongs together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where it listens.
    pub listen: String,
    /// Without, everything travels in the clear.
    pub tls: Option<Tls>,
}

impl HttpOptions {
    /// Puts flags over the file.
    pub(super) fn over(self, file: Self) -> Self {
        Self {
            listen: self.listen.or(file.listen),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            access_log: self.access_log || file.access_log,
        }
    }

    /// Checks what belongs together; none where nobody asks for a gateway.
    pub(super) fn check(self) -> Result<Option<Http>, Error> {
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(cert), Some(key)) => {
                let settings = ["--http-tls-cert", "--http-tls-key", "--http-client-ca"];
                Some(Tls { of: "the HTTP gateway", settings, cert, key, client_ca: None })
            }
            (Some(_), None) => return Err(invalid("--http-tls-cert", "give its --http-tls-key as well")),
            (None, Some(_)) => return Err(invalid("--http-tls-key", "give its --http-tls-cert as well")),
            (None, None) => None,
        };
        match self.listen {
            Some(listen) => Ok(Some(Http { listen, tls })),
            None if tls.is_some() => Err(invalid(
                "--http-tls-cert",
                "there is no gateway to show it; give --http HOST:PORT as well",
            )),
            None if self.access_log => Err(invalid(
                "--http-access-log",
                "there is no gateway to write it; give --http HOST:PORT as well",
            )),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> HttpOptions {
        let file = |word: &str| words.contains(&word).then(|| PathBuf::from(word));
        HttpOptions {
            listen: words.contains(&"listen").then(|| "127.0.0.1:0".to_owned()),
            tls_cert: file("cert"),
            tls_key: file("key"),
            access_log: words.contains(&"log"),
        }
    }

    #[test]
    fn what_belongs_together_comes_together() {
        assert!(options(&[]).check().unwrap().is_none());
        assert!(options(&["listen", "log"]).check().unwrap().unwrap().tls.is_none());
        assert!(options(&["listen"]).over(options(&["cert", "key"])).check().unwrap().unwrap().tls.is_some());
        for (words, missing) in [
            (&["listen", "cert"][..], "--http-tls-key"),
            (&["listen", "key"], "--http-tls-cert"),
            (&["cert", "key"], "--http HOST:PORT"),
            (&["log"], "--http HOST:PORT"),
        ] {
            let error = options(words).check().unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }
}
