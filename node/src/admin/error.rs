//! Errors as gRPC statuses: a code, one sentence, and the same for programs in binary metadata.

use lattice_proto::admin::{ERROR_METADATA, ErrorInfo};
use lattice_proto::{Fault, Ran};
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::controller::DeclareError;
use crate::{artifact, bus, registry};

/// gRPC carries errors in headers, which clients limit to 8 or 16 KiB in all.
const MAX_TEXT: usize = 2 << 10;

fn cut(text: &mut String) {
    if let Some((at, _)) = text.char_indices().find(|(at, _)| *at >= MAX_TEXT) {
        text.truncate(at);
        text.push('…');
    }
}

fn status(code: Code, mut info: ErrorInfo) -> Status {
    cut(&mut info.message);
    // Half of some JSON is none, so details that do not fit are left out.
    if info.details.len() > MAX_TEXT {
        info.details.clear();
    }
    let mut status = Status::new(code, info.message.clone());
    let details = MetadataValue::from_bytes(&info.encode_to_vec());
    status.metadata_mut().insert_bin(ERROR_METADATA, details);
    status
}

fn simple(code: Code, kind: &str, message: String) -> Status {
    told(code, kind, Ran::No, message)
}

fn told(code: Code, kind: &str, ran: Ran, message: String) -> Status {
    let ran = ran.as_str().to_owned();
    status(
        code,
        ErrorInfo { kind: kind.to_owned(), message, ran, code: String::new(), details: String::new() },
    )
}

/// A request that could not be understood.
pub(super) fn invalid(message: impl ToString) -> Status {
    simple(Code::InvalidArgument, "invalid-request", message.to_string())
}

/// Something that is not there.
pub(super) fn missing(message: impl ToString) -> Status {
    simple(Code::NotFound, "not-found", message.to_string())
}

/// A request from somebody who may not be told more.
pub(super) fn unauthenticated(kind: &str, message: impl ToString) -> Status {
    simple(Code::Unauthenticated, kind, message.to_string())
}

/// A request from somebody who may do less.
pub(super) fn denied(message: impl ToString) -> Status {
    simple(Code::PermissionDenied, "denied", message.to_string())
}

/// A request for something that this node does not have.
pub(super) fn unserved(path: &str) -> Status {
    let shown: String = path.chars().take(200).flat_map(char::escape_default).collect();
    let advice = match path.starts_with("/actors/") {
        true => {
            "this is the admin API, and actors are called at the HTTP gateway of a node, which `lattice nodes` shows"
        }
        false => "is it older than its client? see `lattice nodes`",
    };
    let message = format!("this node does not serve `{shown}`; {advice}");
    simple(Code::Unimplemented, "unimplemented", message)
}

/// Events that somebody missed for good.
pub(super) fn cursor_too_old(message: impl ToString) -> Status {
    simple(Code::OutOfRange, "cursor-too-old", message.to_string())
}

/// Something that is away for the moment.
pub(super) fn unavailable(message: impl ToString) -> Status {
    simple(Code::Unavailable, "unavailable", message.to_string())
}

pub(super) fn from_bus(error: &bus::Error) -> Status {
    unavailable(error)
}

pub(super) fn from_artifact(error: &artifact::Error) -> Status {
    let (code, kind) = match error {
        artifact::Error::Missing(_) => (Code::NotFound, "no-such-artifact"),
        artifact::Error::Damaged(_) => (Code::DataLoss, "damaged-artifact"),
        artifact::Error::TooLarge { .. } => (Code::InvalidArgument, "too-large"),
        artifact::Error::Refused(_) => (Code::InvalidArgument, "invalid-artifact"),
        artifact::Error::Bus(_) | artifact::Error::Stopping => (Code::Unavailable, "unavailable"),
    };
    simple(code, kind, error.to_string())
}

pub(super) fn from_declare(error: &DeclareError) -> Status {
    let (code, kind) = match error {
        DeclareError::Manifest(_) => (Code::InvalidArgument, "invalid-manifest"),
        DeclareError::Artifact { source: artifact::Error::Bus(_) | artifact::Error::Stopping, .. } => {
            (Code::Unavailable, "unavailable")
        }
        DeclareError::Artifact { .. } => (Code::InvalidArgument, "invalid-artifact"),
        DeclareError::Registry { source, .. } => from_registry(source),
        DeclareError::Invalid(_) => (Code::InvalidArgument, "invalid-request"),
        DeclareError::NameTaken { .. } => (Code::AlreadyExists, "name-taken"),
        DeclareError::NotFound { .. } | DeclareError::NoRevision { .. } | DeclareError::NoNode(_) => {
            (Code::NotFound, "not-found")
        }
        DeclareError::Stale { .. } => (Code::FailedPrecondition, "stale-revision"),
        DeclareError::Busy => (Code::Aborted, "busy"),
        DeclareError::Bus(_) => (Code::Unavailable, "unavailable"),
    };
    // A write whose answer did not come may have been stored; everything else is found before anything is.
    let ran = match error {
        DeclareError::Bus(bus::Error::Failed { .. } | bus::Error::NoAnswer) => Ran::Maybe,
        _ => Ran::No,
    };
    told(code, kind, ran, error.to_string())
}

/// What asking again may help against is told apart from what it never will.
fn from_registry(error: &registry::Error) -> (Code, &'static str) {
    use lattice_oci::Error as Oci;
    match error {
        registry::Error::NotAllowed(_) | registry::Error::NotAdmitted(_) => {
            (Code::PermissionDenied, "denied")
        }
        // Another node may be set up well, or be less busy.
        registry::Error::Busy | registry::Error::Hook(_) | registry::Error::File { .. } => {
            (Code::Unavailable, "unavailable")
        }
        registry::Error::Oci { source } => match source {
            Oci::Unauthorized { .. } | Oci::Forbidden { .. } => (Code::PermissionDenied, "denied"),
            Oci::Unreachable { .. }
            | Oci::Broken { .. }
            | Oci::TooSlow { .. }
            | Oci::Status { status: 500.., .. } => (Code::Unavailable, "unavailable"),
            Oci::Missing { .. } => (Code::NotFound, "no-such-artifact"),
            Oci::TooLarge { .. } => (Code::InvalidArgument, "too-large"),
            _ => (Code::InvalidArgument, "invalid-artifact"),
        },
    }
}

pub(super) fn from_fault(fault: &Fault) -> Status {
    let code = match fault {
        Fault::NoSuchActor(_) => Code::NotFound,
        Fault::NoSuchOperation(_) => Code::Unimplemented,
        Fault::NoReplica(_) | Fault::NotHere { .. } => Code::Unavailable,
        Fault::Overloaded(_) => Code::ResourceExhausted,
        Fault::Deadline(_) => Code::DeadlineExceeded,
        Fault::Unknown(_) => Code::Unknown,
        Fault::Deadlock(_) | Fault::Rejected(_) => Code::FailedPrecondition,
        Fault::Denied(_) => Code::PermissionDenied,
        Fault::Trapped(_) => Code::Internal,
        Fault::Cancelled(_) => Code::Cancelled,
        Fault::TooLarge { .. } => Code::OutOfRange,
        Fault::Malformed(_) => Code::InvalidArgument,
    };
    let (rejection, details) = match fault {
        Fault::Rejected(rejection) => (rejection.code.clone(), rejection.details.clone().unwrap_or_default()),
        _ => (String::new(), String::new()),
    };
    let info = ErrorInfo {
        kind: fault.kind().to_owned(),
        message: fault.to_string(),
        ran: fault.ran().as_str().to_owned(),
        code: rejection,
        details,
    };
    status(code, info)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTO: &str = include_str!("../../../proto/proto/lattice/admin/v1/admin.proto");

    #[test]
    fn every_kind_of_error_is_documented_with_its_code() {
        let text = || "a".to_owned();
        let faults = [
            Fault::NoSuchActor(text()),
            Fault::NoSuchOperation(text()),
            Fault::NoReplica(text()),
            Fault::Overloaded(text()),
            Fault::NotHere { actor: text(), revision: 1 },
            Fault::Deadline(Ran::No),
            Fault::Unknown(text()),
            Fault::Deadlock(text()),
            Fault::Denied(text()),
            Fault::Trapped(text()),
            Fault::Cancelled(Ran::No),
            Fault::TooLarge { limit: 1, size: 2, ran: Ran::No },
            Fault::Malformed(text()),
        ];
        let statuses = faults.iter().map(from_fault).chain([
            invalid(""),
            missing(""),
            unavailable(""),
            cursor_too_old(""),
            unauthenticated("unauthenticated", ""),
            unauthenticated("token-expired", ""),
            denied(""),
            unserved(""),
            from_artifact(&artifact::Error::TooLarge { size: 1 }),
            from_artifact(&artifact::Error::Stopping),
            from_declare(&DeclareError::Busy),
            from_declare(&DeclareError::Invalid(String::new())),
        ]);
        for status in statuses {
            let info = status.metadata().get_bin(ERROR_METADATA).unwrap().to_bytes().unwrap();
            let kind = ErrorInfo::decode(info).unwrap().kind;
            let code = format!("{:?}", status.code());
            let is_row = |line: &str| {
                let mut words = line.split_whitespace().skip(1);
                words.next() == Some(&kind)
                    && words.next().is_some_and(|word| word.replace('_', "").eq_ignore_ascii_case(&code))
            };
            assert!(PROTO.lines().any(is_row), "`{kind}` with {code} is not documented in admin.proto");
        }
    }
}
