//! What this user shows to a node, and whom it trusts: files that flags or variables name. Secrets stand in files only,
//! never on a command line, where every user of the machine would see them.

use std::path::{Path, PathBuf};

use lattice_proto::Ran;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::failure::Failure;

/// How to get in where a node does not let everybody in.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Access {
    /// The certificate authority that the node must be signed by [default: the system's]
    #[arg(
        long = "admin-ca",
        help_heading = "Access",
        global = true,
        value_name = "FILE",
        env = "LATTICE_ADMIN_CA"
    )]
    pub ca: Option<PathBuf>,
    /// The certificate to show to the node
    #[arg(
        long = "admin-cert",
        help_heading = "Access",
        global = true,
        value_name = "FILE",
        env = "LATTICE_ADMIN_CERT"
    )]
    pub cert: Option<PathBuf>,
    /// Its private key
    #[arg(
        long = "admin-key",
        help_heading = "Access",
        global = true,
        value_name = "FILE",
        env = "LATTICE_ADMIN_KEY"
    )]
    pub key: Option<PathBuf>,
    /// A file with the secret of a token
    #[arg(
        long = "admin-token",
        help_heading = "Access",
        global = true,
        value_name = "FILE",
        env = "LATTICE_ADMIN_TOKEN_FILE"
    )]
    pub token: Option<PathBuf>,
}

impl Access {
    /// Whether there is a secret to send.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether anything was given that only TLS can use.
    pub fn wants_tls(&self) -> bool {
        self.ca.is_some() || self.cert.is_some()
    }

    /// The token as requests carry it.
    pub fn bearer(&self) -> Result<Bearer, Failure> {
        let Some(path) = &self.token else { return Ok(Bearer(None)) };
        let text = String::from_utf8(read("--admin-token", path)?).unwrap_or_default();
        let secret = text.trim();
        let value = MetadataValue::try_from(format!("Bearer {secret}")).ok();
        let Some(mut value) = value.filter(|_| !secret.is_empty() && !secret.contains(char::is_whitespace))
        else {
            let message = format!(
                "--admin-token {} holds no secret; it is the one line that `lattice token new` prints as such",
                path.display()
            );
            return Err(Failure::new("invalid-token", Ran::No, message));
        };
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }
}

/// Reads a file that a flag names.
pub fn read(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::new("io", Ran::No, format!("cannot read {flag} {}: {error}", path.display()))
    })
}

/// Adds the token to each request, where there is one.
#[derive(Debug, Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// Whether there is one.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(contents: &str) -> Result<Bearer, Failure> {
        let file = std::env::temp_dir().join(format!("lattice-token-{}", uuid::Uuid::new_v4()));
        std::fs::write(&file, contents).unwrap();
        let bearer = Access { token: Some(file.clone()), ..Access::default() }.bearer();
        std::fs::remove_file(file).unwrap();
        bearer
    }

    #[test]
    fn the_secret_travels_without_the_end_of_its_line() {
        let mut bearer = bearer("lat_abc\n").unwrap();
        let request = bearer.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap().to_str().unwrap(), "Bearer lat_abc");
        assert!(!format!("{request:?}").contains("lat_abc"), "a secret must not be shown");
    }

    #[test]
    fn a_file_that_holds_no_secret_is_refused() {
        for bad in ["", "\n", "two words", "[[token]]\nname = \"ci\"", "\u{7}"] {
            assert_eq!(bearer(bad).unwrap_err().kind, "invalid-token", "{bad}");
        }
    }
}
