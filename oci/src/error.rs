//! Why an artifact could not be had, or put where it was to go.

use lattice_proto::{Digest, MAX_ARTIFACT};

/// What went wrong with a registry. What one has said is in here shortened, and without control characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// From the system.
        reason: String,
    },
    /// What it was saying has no end, or is no HTTP.
    #[error("{host} broke off: {reason}")]
    Broken {
        /// Who was asked.
        host: String,
        /// From hyper.
        reason: String,
    },
    /// It answers in the clear, and was asked by TLS.
    #[error("{host} does not speak TLS")]
    InTheClear {
        /// Who was asked.
        host: String,
    },
    /// Its certificate does not count, or TLS failed in another way.
    #[error("TLS with {host} failed: {reason}")]
    Tls {
        /// Who was asked.
        host: String,
        /// From rustls.
        reason: String,
    },
    /// It said nothing for too long, or took too long as a whole.
    #[error("{host} {what}")]
    TooSlow {
        /// Who was asked.
        host: String,
        /// What took too long.
        what: String,
    },
    /// It wants to know who asks.
    #[error("{host} {}", if *known { "does not accept the credentials that it was given" } else { "wants credentials" })]
    Unauthorized {
        /// Who was asked.
        host: String,
        /// Whether there were credentials.
        known: bool,
    },
    /// It knows who asks, and says no.
    #[error("{host} does not allow that{said}")]
    Forbidden {
        /// Who was asked.
        host: String,
        /// In its own words.
        said: String,
    },
    /// It does not have it.
    #[error("{host} has no {what}{said}")]
    Missing {
        /// Who was asked.
        host: String,
        /// What it does not have.
        what: String,
        /// In its own words, which tell a name that it does not know from a tag.
        said: String,
    },
    /// It answers something that the protocol does not know at this place.
    #[error("{host} answers {status}{said}")]
    Status {
        /// Who was asked.
        host: String,
        /// Of HTTP.
        status: u16,
        /// In its own words.
        said: String,
    },
    /// The artifact is larger than allowed.
    #[error(
        "its component has {size} bytes, and an artifact has at most {MAX_ARTIFACT}; nothing of it was fetched"
    )]
    TooLarge {
        /// As the manifest says.
        size: u64,
    },
    /// More came than was said or is allowed.
    #[error("{host} sends more than {limit} bytes of {what}; it was cut off")]
    Overrun {
        /// Who was asked.
        host: String,
        /// What it sends.
        what: &'static str,
        /// What it may have.
        limit: u64,
    },
    /// The bytes are others.
    #[error("{what} was to be {wanted}, and {host} sends {found}")]
    WrongDigest {
        /// Who was asked.
        host: String,
        /// What it sends.
        what: &'static str,
        /// As pinned, or as its manifest says.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// What it has is no component.
    #[error("{0}")]
    NoComponent(String),
    /// It sends something that cannot be understood.
    #[error("{host} sends what cannot be understood: {reason}")]
    Malformed {
        /// Who was asked.
        host: String,
        /// What it is.
        reason: String,
    },
    /// It sends its client to where that does not go.
    #[error("{host} leads to {place}, which is not reached by HTTPS")]
    Astray {
        /// Who was asked.
        host: String,
        /// Where to.
        place: String,
    },
    /// It sends its client to what may be there for this machine alone.
    #[error("{host} leads to {place}, which has no address to which a registry may lead")]
    Inward {
        /// Who was asked.
        host: String,
        /// Where to.
        place: String,
    },
    /// What is said to be trusted cannot be.
    #[error("the authority for registries: {0}")]
    Authority(String),
}

/// Text from a registry as it may be shown: little of it, on one line.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
