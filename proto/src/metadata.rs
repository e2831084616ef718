//! What an artifact says of itself, in the custom section [`SECTION`] of its core module.
//!
//! The SDK's macros write it; a guest that was built without the SDK has none, which is no error: then no operation
//! counts as idempotent and none is refused before the guest sees it.

use serde::{Deserialize, Serialize};

use crate::id::Operation;

/// The name of the custom section: JSON lines, one per actor in the artifact.
pub const SECTION: &str = "lattice:actor";

/// One line of the section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The version of the SDK that wrote it.
    #[serde(default)]
    pub sdk: String,
    /// Whether it is a keyed actor.
    #[serde(default)]
    pub keyed: bool,
    /// The operations that the actor serves.
    #[serde(default)]
    pub operations: Vec<OperationMetadata>,
}

/// One operation of an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationMetadata {
    /// Its name in messages.
    pub name: Operation,
    /// Its parameters, in order.
    #[serde(default)]
    pub parameters: Vec<String>,
    /// Whether running it twice does no more than running it once, so that a router may try again.
    #[serde(default)]
    pub idempotent: bool,
    /// Whether it leaves the state of a keyed actor as it is, and neither sends nor reminds. Says nothing of other actors.
    #[serde(default)]
    pub read: bool,
}

impl Metadata {
    /// Reads the section's bytes.
    ///
    /// # Errors
    /// When a line is no JSON of this shape: the artifact is damaged or hostile.
    pub fn parse(section: &[u8]) -> Result<Self, serde_json::Error> {
        let mut all = Metadata::default();
        for line in section.split(|byte| *byte == b'\n' || *byte == 0).filter(|line| !line.is_empty()) {
            let one: Metadata = serde_json::from_slice(line)?;
            all.sdk = one.sdk;
            all.keyed |= one.keyed;
            all.operations.extend(one.operations);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_several_lines_are_joined() {
        let text = "{\"sdk\":\"0.1.0\",\"operations\":[{\"name\":\"a\",\"idempotent\":true}]}\n{\"operations\":[{\"name\":\"b\"}]}\n";
        let metadata = Metadata::parse(text.as_bytes()).unwrap();
        let names: Vec<_> = metadata.operations.iter().map(|o| (o.name.as_str(), o.idempotent)).collect();
        assert_eq!(names, [("a", true), ("b", false)]);
        assert!(Metadata::parse(b"garbage").is_err());
    }

    #[test]
    fn a_keyed_actor_says_so_and_which_of_its_operations_only_read() {
        let line = r#"{"keyed":true,"operations":[{"name":"lines","read":true},{"name":"add","read":false},{"name":"old"}]}"#;
        let metadata = Metadata::parse(line.as_bytes()).unwrap();
        assert!(metadata.keyed);
        let reads: Vec<_> = metadata.operations.iter().map(|operation| operation.read).collect();
        assert_eq!(reads, [true, false, false]);
        assert!(!Metadata::parse(br#"{"sdk":"0.1.0"}"#).unwrap().keyed);
    }
}
