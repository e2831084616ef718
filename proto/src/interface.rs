//! Names of WIT interfaces, such as `acme:shop/pricing@1.2.0`, by which components are linked.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use semver::Version;
use serde::{Deserialize, Serialize};

/// The longest name, in bytes: it travels with each call.
const MAX_LENGTH: usize = 256;

/// The name of an interface, with or without its version.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(Arc<str>);

/// Why a text is no name of an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no interface of a package; expected `namespace:package/interface`, such as `acme:shop/pricing`, with or \
     without a version such as `@1.2.0`"
)]
pub struct Invalid(String);

impl InterfaceName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same without its version.
    pub fn base(&self) -> &str {
        self.0.split_once('@').map_or(&*self.0, |(base, _)| base)
    }

    /// Its version, if it says one.
    pub fn version(&self) -> Option<Version> {
        // It was checked when the name was made.
        self.0.split_once('@').and_then(|(_, version)| version.parse().ok())
    }

    /// The namespace of its package, such as `wasi`.
    pub fn namespace(&self) -> &str {
        self.0.split_once(':').map_or("", |(namespace, _)| namespace)
    }

    /// Whether whoever asks for the other one may be given this one: of versions that semantic versioning calls compatible.
    pub fn is_compatible_with(&self, other: &Self) -> bool {
        if self.base() != other.base() {
            return false;
        }
        match (self.version(), other.version()) {
            (None, None) => true,
            (Some(one), Some(two)) => {
                one == two || track(&one).is_some_and(|common| track(&two) == Some(common))
            }
            _ => false,
        }
    }
}

/// What versions have in common that are compatible; none for one that is compatible with itself only.
fn track(version: &Version) -> Option<(u64, u64)> {
    match (version.major, version.minor) {
        _ if !version.pre.is_empty() => None,
        (0, 0) => None,
        (0, minor) => Some((0, minor)),
        (major, _) => Some((major, 0)),
    }
}

/// A word of a name, as WIT has it: parts of letters and digits, joined by `-`, the first of which begins with a letter.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.split('-').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn is_valid(text: &str) -> bool {
    let (base, version) = text.split_once('@').map_or((text, None), |(base, version)| (base, Some(version)));
    let parts = base.split_once(':').and_then(|(namespace, rest)| Some((namespace, rest.split_once('/')?)));
    text.len() <= MAX_LENGTH
        && parts.is_some_and(|(namespace, (package, interface))| {
            [namespace, package, interface].into_iter().all(is_word)
        })
        && version.is_none_or(|version| version.parse::<Version>().is_ok())
}

impl FromStr for InterfaceName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match is_valid(text) {
            true => Ok(Self(text.into())),
            // Hostile text ends up in logs and replies, so only its beginning is repeated.
            false => Err(Invalid(text.chars().take(80).flat_map(char::escape_default).collect())),
        }
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> String {
        name.as_str().to_owned()
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> InterfaceName {
        text.parse().unwrap()
    }

    #[test]
    fn names_have_a_package_and_perhaps_a_version() {
        let versioned = name("acme:shop/pricing@1.2.0-rc.1");
        assert_eq!((versioned.base(), versioned.namespace()), ("acme:shop/pricing", "acme"));
        assert_eq!(versioned.version(), Some("1.2.0-rc.1".parse().unwrap()));
        assert_eq!(name("a-1:b/c-D2").version(), None);
        let long = format!("a:b/{}", "c".repeat(MAX_LENGTH));
        for text in [
            "",
            "pricing",
            "acme/pricing",
            "acme:shop",
            "acme:/pricing",
            ":shop/pricing",
            "acme:shop/",
            "a:b/c/d",
            "a:b/c@",
            "a:b/c@1",
            "a:b/c@1.2.3@1",
            "a:b/1c",
            "a:b/c--d",
            "a:b/c-",
            "a:b/ç",
            "a:b/c d",
            "a:b:c/d",
            &long,
        ] {
            let error = text.parse::<InterfaceName>().unwrap_err().to_string();
            assert!(error.contains("namespace:package/interface"), "{text}: {error}");
        }
    }

    #[test]
    fn versions_are_compatible_as_semver_says() {
        let table = [
            ("", "", true),
            ("", "@1.0.0", false),
            ("@1.0.0", "@1.0.0", true),
            ("@1.0.0", "@1.9.2", true),
            ("@1.0.0", "@2.0.0", false),
            ("@0.2.1", "@0.2.9", true),
            ("@0.2.1", "@0.3.0", false),
            ("@0.0.1", "@0.0.1", true),
            ("@0.0.1", "@0.0.2", false),
            ("@1.0.0-rc.1", "@1.0.0", false),
            ("@1.0.0-rc.1", "@1.0.0-rc.1", true),
        ];
        for (one, two, compatible) in table {
            let (one, two) = (name(&format!("a:b/c{one}")), name(&format!("a:b/c{two}")));
            assert_eq!(one.is_compatible_with(&two), compatible, "{one} {two}");
            assert_eq!(two.is_compatible_with(&one), compatible, "{two} {one}");
        }
        assert!(!name("a:b/c").is_compatible_with(&name("a:b/d")));
    }
}
