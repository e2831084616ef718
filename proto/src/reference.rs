//! Names of artifacts in registries: `oci://registry.example:5000/acme/cart:1.2`, with `@sha256:…` where it is pinned.
//!
//! The host is always named, and so is a tag or a digest: no registry and no `latest` is ever implied, so that a manifest says what it
//! means.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::Digest;

/// What a reference begins with.
pub const SCHEME: &str = "oci://";

/// The longest repository, as the distribution specification has it.
const MAX_REPOSITORY: usize = 255;

/// The longest tag, as the distribution specification has it.
const MAX_TAG: usize = 128;

/// An artifact in a registry.
///
/// ```
/// use lattice_proto::Reference;
/// let reference: Reference = "oci://ghcr.io/acme/cart:1.2".parse()?;
/// assert_eq!((reference.host(), reference.repository(), reference.tag()), ("ghcr.io", "acme/cart", Some("1.2")));
/// # Ok::<(), lattice_proto::reference::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    fn new(rule: &str) -> Self {
        Self(rule.to_owned())
    }
}

impl Reference {
    /// The registry, with its port where one is named.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where one is named.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest, where it is pinned.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same, pinned to the manifest with this digest.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// As tools know it that need no scheme, without the tag: `ghcr.io/acme/cart@sha256:…`.
    pub fn plain(&self) -> String {
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{}/{}{digest}", self.host, self.repository)
    }
}

/// Whether this is a host as references name it: a name or an address, with a port or without.
pub fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                return rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
            }
            _ => return false,
        },
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether this is a name within a registry: words of lower case with single separators between, in a path.
pub fn is_repository(text: &str) -> bool {
    text.len() <= MAX_REPOSITORY && text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_well = |end: Option<&u8>| end.is_some_and(|b| is_inner(*b));
    // What stands between two characters of a word: nothing, one of these, or any number of dashes.
    let is_separator = |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    let mut separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends_well(bytes.first()) && ends_well(bytes.last()) && separators.all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=MAX_TAG).contains(&text.len())
        && is_word(text.as_bytes()[0])
        && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

impl FromStr for Reference {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| {
            Invalid::new("expected `oci://HOST/NAME:TAG`, such as `oci://ghcr.io/acme/cart:1.2`")
        })?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse::<Digest>();
                (rest, Some(digest.map_err(|error| Invalid(format!("after `@`: {}", error.rule())))?))
            }
            None => (rest, None),
        };
        let (host, path) = rest
            .split_once('/')
            .ok_or_else(|| Invalid::new("name the registry and what it has: `oci://HOST/NAME:TAG`"))?;
        if !is_host(host) {
            return Err(Invalid::new(
                "the registry is a host in lower case, with its port where that is not 443: `oci://HOST:PORT/NAME:TAG`",
            ));
        }
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !is_repository(repository) {
            return Err(Invalid::new(
                "the name in the registry has lower case letters, digits, and `.`, `_`, `-` or `/` between them",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(Invalid::new("a tag has letters, digits, `_`, `.` and `-`, 128 characters at most"));
        }
        if tag.is_none() && digest.is_none() {
            return Err(Invalid::new(
                "name the tag or the digest, `oci://HOST/NAME:TAG` or `oci://HOST/NAME@sha256:…`; `latest` is meant only where \
                 it is written",
            ));
        }
        Ok(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl TryFrom<String> for Reference {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Reference, String> {
        text.parse().map_err(|error: Invalid| error.to_string())
    }

    #[test]
    fn references_are_taken_apart_and_put_together() {
        let digest = Digest::of(b"");
        for text in [
            "oci://ghcr.io/acme/cart:1.2",
            "oci://registry/name:tag",
            "oci://127.0.0.1:5000/a/b_c/d__e/f---g/h.i:latest",
            "oci://[::1]:5000/a:0",
            &format!("oci://localhost/a@{digest}"),
            &format!("oci://localhost/a:1@{digest}"),
        ] {
            assert_eq!(parsed(text).unwrap().to_string(), *text);
        }
        let pinned = parsed("oci://a.example/b:1").unwrap().pinned(digest.clone());
        assert_eq!(pinned.to_string(), format!("oci://a.example/b:1@{digest}"));
        assert_eq!(pinned.plain(), format!("a.example/b@{digest}"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (text, wanted) in [
            ("ghcr.io/acme/cart:1", "oci://HOST"),
            ("oci://cart:1", "name the registry"),
            ("oci:///cart:1", "the registry is a host"),
            ("oci://GHCR.io/cart:1", "lower case"),
            ("oci://user@ghcr.io/cart:1", "after `@`"),
            ("oci://host:0/cart:1", "the registry is a host"),
            ("oci://host:99999/cart:1", "the registry is a host"),
            ("oci://host:+80/cart:1", "the registry is a host"),
            ("oci://-host/cart:1", "the registry is a host"),
            ("oci://[::g]/cart:1", "the registry is a host"),
            ("oci://host/Cart:1", "lower case"),
            ("oci://host/a..b:1", "lower case"),
            ("oci://host/a/:1", "lower case"),
            ("oci://host/../b:1", "lower case"),
            ("oci://host/a?b:1", "lower case"),
            ("oci://host/cart", "name the tag or the digest"),
            ("oci://host/cart:", "a tag has"),
            ("oci://host/cart:-1", "a tag has"),
            ("oci://host/cart:a/b", "a tag has"),
            ("oci://host/cart@sha256:12", "after `@`"),
            ("oci://host/cart@md5:12", "after `@`"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
