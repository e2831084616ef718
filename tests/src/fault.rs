//! A request that failed, as a caller of the admin API sees it.

use std::fmt;
use std::time::Duration;

use lattice_proto::Ran;
use lattice_proto::admin::{ERROR_METADATA, ErrorInfo};
use tonic::Status;

/// What the node said, or that it said nothing of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The stable word; `None` when the error was not typed by a node, which is a failure of the contract.
    pub kind: Option<String>,
    /// One sentence.
    pub message: String,
    /// Whether the message was handled.
    pub ran: Ran,
    /// An actor's own code.
    pub code: String,
    /// An actor's own details, as JSON.
    pub details: String,
    /// From the request to the failure.
    pub elapsed: Duration,
}

impl Fault {
    /// The kind, or `untyped`.
    pub fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("untyped")
    }

    pub(crate) fn after(mut self, elapsed: Duration) -> Self {
        self.elapsed = elapsed;
        self
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        let info = status.metadata().get_bin(ERROR_METADATA).and_then(|value| value.to_bytes().ok());
        let info: Option<ErrorInfo> = info.and_then(|bytes| prost::Message::decode(bytes).ok());
        let Some(info) = info else {
            return Self {
                kind: None,
                message: format!("{:?}: {}", status.code(), status.message()),
                ran: Ran::Maybe,
                code: String::new(),
                details: String::new(),
                elapsed: Duration::ZERO,
            };
        };
        let ran = match info.ran.as_str() {
            "no" => Ran::No,
            "yes" => Ran::Yes,
            _ => Ran::Maybe,
        };
        Self {
            kind: Some(info.kind),
            message: info.message,
            ran,
            code: info.code,
            details: info.details,
            elapsed: Duration::ZERO,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (ran: {}) after {:?}: {}", self.kind(), self.ran.as_str(), self.elapsed, self.message)
    }
}

impl std::error::Error for Fault {}
