//! One call or reply, ready to travel. Its payload is not copied before it is written into a frame.
//!
//! Protobuf lets fields come in any order, so the payload comes last and is added when the frame is made.

use bytes::Bytes;
use prost::Message;

/// The wire type of a field that says its own length.
const LENGTH_DELIMITED: u8 = 2;

/// The most bytes that a tag and a length take.
const PREFIX: usize = 11;

/// An encoded call or reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// All fields but the payload, and then the payload's tag and length.
    head: Vec<u8>,
    payload: Bytes,
}

impl Entry {
    /// Without a payload.
    pub(super) fn plain(message: &impl Message) -> Self {
        Self { head: message.encode_to_vec(), payload: Bytes::new() }
    }

    /// `message` has no payload yet, which becomes its field of this number.
    pub(super) fn with_payload(message: &impl Message, field: u8, payload: Bytes) -> Self {
        let mut head = Vec::with_capacity(message.encoded_len() + PREFIX);
        append(&mut head, message);
        begin(&mut head, field, payload.len());
        Self { head, payload }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In one piece, as whoever reads the frame finds it.
    pub fn to_bytes(&self) -> Bytes {
        [&*self.head, &*self.payload].concat().into()
    }
}

/// Of bytes that were encoded elsewhere.
impl From<Vec<u8>> for Entry {
    fn from(head: Vec<u8>) -> Self {
        Self { head, payload: Bytes::new() }
    }
}

/// A frame: its own fields, and then the entries as its fields of this number.
pub(super) fn frame(own: &impl Message, field: u8, entries: &[Entry]) -> Bytes {
    let room = own.encoded_len() + entries.iter().map(|entry| entry.len() + PREFIX).sum::<usize>();
    let mut frame = Vec::with_capacity(room);
    append(&mut frame, own);
    for entry in entries {
        begin(&mut frame, field, entry.len());
        frame.extend_from_slice(&entry.head);
        frame.extend_from_slice(&entry.payload);
    }
    frame.into()
}

fn append(buffer: &mut Vec<u8>, message: &impl Message) {
    // A vector grows, and running out of room is the only thing that can fail.
    let _ = message.encode(buffer);
}

fn begin(buffer: &mut Vec<u8>, field: u8, length: usize) {
    buffer.push(field << 3 | LENGTH_DELIMITED);
    let _ = prost::encode_length_delimiter(length, buffer);
}
