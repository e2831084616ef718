//! What is to be done with a call: what operators do to a key goes the way of its calls, so that it takes its place among them, and an
//! HTTP request and a call of an exported function go that way as well.

use bytes::Bytes;
use prost::Message;

use super::{Malformed, VERSION, check_version, decode, parse, wire};
use crate::id::{Digest, Topic};
use crate::interface::InterfaceName;
use crate::reminder::{MAX_REMINDERS, Reminder};

/// What is to be done with a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Aim {
    /// The actor handles it.
    #[default]
    Handle,
    /// Its payload becomes the state of the key, whatever the actor thinks of it.
    Overwrite(Overwrite),
    /// Whoever owns the key says what it has of it in memory: a [`Seen`].
    Look,
    /// Its payload is an [`crate::http::Opening`], and the reply's an [`crate::http::Answer`].
    Http,
    /// The actor handles it as what was published to this topic.
    Topic(Topic),
    /// The function that the operation names is called. Arguments and result are in WebAssembly Value Encoding.
    Link(Link),
}

/// Which function of a component is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Of which interface, as the caller imports it.
    pub interface: InterfaceName,
    /// Of the function's type, as the caller imports it: whoever has another type must not read the arguments.
    pub fingerprint: Digest,
}

/// How the state of a key is overwritten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overwrite {
    /// Whether it has no state and no reminders from then on.
    pub delete: bool,
    /// Which revision its record must have.
    pub if_revision: Option<u64>,
    /// The reminders that it has from then on; none where it keeps its own.
    pub reminders: Option<Vec<Reminder>>,
}

/// What the owner of a key has of it in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is awake.
    pub awake: bool,
    /// Messages that wait or run.
    pub messages: u32,
}

impl Aim {
    pub(super) fn to_wire(&self) -> Option<wire::call::Aim> {
        match self {
            Aim::Handle => None,
            Aim::Look => Some(wire::call::Aim::Look(wire::Look {})),
            Aim::Http => Some(wire::call::Aim::Http(wire::Http {})),
            Aim::Topic(topic) => Some(wire::call::Aim::Topic(topic.to_string())),
            Aim::Link(Link { interface, fingerprint }) => {
                let (interface, fingerprint) =
                    (interface.as_str().to_owned(), fingerprint.as_str().to_owned());
                Some(wire::call::Aim::Link(wire::Link { interface, fingerprint }))
            }
            Aim::Overwrite(Overwrite { delete, if_revision, reminders }) => {
                let reminders = reminders.as_ref().map(|reminders| wire::Reminders {
                    reminders: reminders.iter().map(Reminder::to_wire).collect(),
                });
                let (delete, if_revision) = (*delete, *if_revision);
                Some(wire::call::Aim::Overwrite(wire::Overwrite { delete, if_revision, reminders }))
            }
        }
    }

    pub(super) fn from_wire(aim: Option<wire::call::Aim>) -> Result<Self, Malformed> {
        let wire::Overwrite { delete, if_revision, reminders } = match aim {
            None => return Ok(Aim::Handle),
            Some(wire::call::Aim::Look(_)) => return Ok(Aim::Look),
            Some(wire::call::Aim::Http(_)) => return Ok(Aim::Http),
            Some(wire::call::Aim::Topic(topic)) => return Ok(Aim::Topic(parse("topic", &topic)?)),
            Some(wire::call::Aim::Link(wire::Link { interface, fingerprint })) => {
                let interface = parse("interface", &interface)?;
                return Ok(Aim::Link(Link { interface, fingerprint: parse("fingerprint", &fingerprint)? }));
            }
            Some(wire::call::Aim::Overwrite(overwrite)) => overwrite,
        };
        let read = |wire::Reminders { reminders }| {
            if reminders.len() > MAX_REMINDERS {
                return Err(Malformed::field("reminders", format!("more than {MAX_REMINDERS}")));
            }
            let reminder =
                |one| Reminder::from_wire(one).map_err(|error| Malformed::field("reminders", error));
            reminders.into_iter().map(reminder).collect::<Result<Vec<_>, _>>()
        };
        let reminders = reminders.map(read).transpose()?;
        Ok(Aim::Overwrite(Overwrite { delete, if_revision, reminders }))
    }
}

impl Seen {
    /// As the payload of a reply.
    pub fn encode(&self) -> Bytes {
        let Self { awake, messages } = *self;
        wire::Seen { version: VERSION, awake, messages }.encode_to_vec().into()
    }

    /// From the payload of a reply.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let wire::Seen { version, awake, messages } = decode(bytes)?;
        check_version(version)?;
        Ok(Self { awake, messages })
    }
}
