//! The newtypes of every identifier, each parsed once at the edge.
//!
//! A name that has one of these types is safe to put into a NATS subject, a bucket key or a file name.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::topic;

/// Why a text is no valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: {rule}")]
pub struct Invalid {
    what: &'static str,
    text: String,
    rule: &'static str,
}

impl Invalid {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        // Hostile text ends up in logs and replies, so only its beginning is repeated.
        let text = text.chars().take(80).flat_map(char::escape_default).collect();
        Self { what, text, rule }
    }

    /// What a valid identifier of this kind looks like.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

/// Defines a newtype over a shared string with one validity rule.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The identifier as text that shares this one's memory.
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(Invalid::new($what, text, $rule)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

fn is_word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

name! {
    /// The lattice that nodes share: one NATS namespace.
    LatticeId, "lattice id", "use a letter, then letters, digits and `-`, lower case, 63 characters at most", is_label
}
name! {
    /// The name of an actor, unique in its lattice.
    ActorName, "actor name", "use a letter, then letters, digits and `-`, lower case, 63 characters at most", is_label
}
name! {
    /// The name of what guests keep by an interface of the standard: a key-value store, or a container of objects.
    StoreName, "store name", "use a letter, then letters, digits and `-`, lower case, 63 characters at most", is_label
}
name! {
    /// The name of an app: a set of actors deployed together.
    AppName, "app name", "use a letter, then letters, digits and `-`, lower case, 63 characters at most", is_label
}
name! {
    /// The name of a node: stable over its restarts, chosen by the operator.
    NodeName, "node name", "use letters, digits, `-` and `_`, 63 characters at most", |text| is_word(text, 63)
}
name! {
    /// The name of an operation of an actor.
    Operation, "operation", "use letters, digits, `-` and `_`, 128 characters at most", |text| is_word(text, 128)
}
name! {
    /// One start of one node: a restarted node is a different incarnation of the same name.
    Incarnation, "incarnation", "use 32 hexadecimal digits in lower case", |text| {
        text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    }
}
name! {
    /// An artifact's address: `sha256:` and 64 hexadecimal digits.
    Digest, "digest", "use `sha256:` and 64 hexadecimal digits in lower case", |text| {
        text.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    }
}
name! {
    /// What a message is about that goes to whoever subscribes: words, the most general first, such as `orders.created`.
    Topic, "topic", "use letters, digits, `-` and `_` in words with dots between them, such as `orders.created`, 128 characters at most", topic::is_topic
}
name! {
    /// Topics: a topic in which `*` stands for any one word, and `>` at the end for one or more.
    TopicPattern, "pattern of topics", "use words of letters, digits, `-` and `_` with dots between them, `*` for any one word and `>` for all that follow, such as `orders.>`, 128 characters at most", topic::is_pattern
}
name! {
    /// One message, over all its attempts.
    MessageId, "message id", "use letters, digits, `-` and `_`, 64 characters at most", |text| is_word(text, 64)
}

impl Incarnation {
    /// A new one, unlike any other; later ones sort after earlier ones.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string().into())
    }
}

impl Digest {
    /// The digest of these bytes.
    ///
    /// ```
    /// let digest = lattice_proto::Digest::of(b"");
    /// assert!(digest.as_str().starts_with("sha256:e3b0c442"));
    /// ```
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(sha2::Sha256::new_with_prefix(bytes))
    }

    /// The digest of the bytes that went into a hash one part after the other.
    pub fn finish(hash: sha2::Sha256) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }

    /// The 64 digits alone, which make a good file or object name.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

impl MessageId {
    /// The message with this number among those that one incarnation has sent.
    pub fn numbered(origin: &Incarnation, number: u64) -> Self {
        Self(format!("{origin}-{number:x}").into())
    }
}

/// What callers are called that are no actors and come in by plain NATS. No actor may have this name.
pub const EXTERNAL: &str = "external";

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 256;

/// Whom a message is for: `name`, or `name/key` for a keyed actor.
///
/// ```
/// let id: lattice_proto::ActorId = "cart/alice".parse()?;
/// assert_eq!((id.name.as_str(), id.key.as_deref()), ("cart", Some("alice")));
/// # Ok::<(), lattice_proto::id::Invalid>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActorId {
    /// The actor.
    pub name: ActorName,
    /// Which of its activations; none for a replicated actor.
    pub key: Option<Arc<str>>,
}

impl ActorId {
    /// The ID as text; shares memory where there is no key.
    pub fn shared(&self) -> Arc<str> {
        match &self.key {
            None => self.name.shared(),
            Some(_) => self.to_string().into(),
        }
    }
}

impl From<ActorName> for ActorId {
    fn from(name: ActorName) -> Self {
        Self { name, key: None }
    }
}

impl FromStr for ActorId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((name, key)) = text.split_once('/') else {
            return Ok(Self { name: text.parse()?, key: None });
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(Invalid::new("actor id", text, "a key has 1 to 256 bytes"));
        }
        Ok(Self { name: name.parse()?, key: Some(key.into()) })
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}/{key}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl fmt::Debug for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rules() {
        for good in ["a", "cart-2", &"x".repeat(63)] {
            assert_eq!(good.parse::<ActorName>().unwrap().as_str(), good);
        }
        for bad in ["", "2cart", "-a", "Cart", "a.b", "a b", "a*", "a>", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<ActorName>().is_err(), "{bad}");
        }
        for bad in ["", "a.b", "no de", ">", &"x".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
        for bad in ["sha256:", "sha256:zz", "md5:00"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_invalid_name_is_repeated_short_and_escaped() {
        let error = format!("{}\n", "x".repeat(5000)).parse::<ActorName>().unwrap_err().to_string();
        assert!(error.len() < 250, "{error}");
    }

    #[test]
    fn actor_ids_have_keys_or_not() {
        let id: ActorId = "cart/a/b".parse().unwrap();
        assert_eq!((id.name.as_str(), id.key.as_deref()), ("cart", Some("a/b")));
        assert_eq!(id.to_string(), "cart/a/b");
        assert!("cart/".parse::<ActorId>().is_err());
        assert_eq!("cart".parse::<ActorId>().unwrap().key, None);
    }

    #[test]
    fn incarnations_sort_by_time() {
        let (first, second) = (Incarnation::generate(), Incarnation::generate());
        assert!(first < second);
        assert_eq!(first.as_str().parse::<Incarnation>().unwrap(), first);
    }
}
