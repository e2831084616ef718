//! W3C trace context: the two headers by which a trace crosses processes.

use std::fmt;
use std::str::FromStr;

use const_hex::{decode_to_array, encode_to_slice};

/// The longest `tracestate` that is passed on, as the standard asks for at least this much.
const MAX_STATE: usize = 512;

/// A parsed `traceparent` header, version 00.
///
/// ```
/// use lattice_proto::envelope::TraceParent;
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let parent: TraceParent = text.parse().map_err(|()| "invalid")?;
/// assert!(parent.sampled());
/// assert_eq!(parent.to_string(), text);
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The whole call tree.
    pub trace_id: u128,
    /// The span that the receiver's own spans are children of.
    pub span_id: u64,
    /// Bit 0: recorded.
    pub flags: u8,
}

impl TraceParent {
    /// Whether the caller records this trace.
    pub fn sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each turn is given it as text, for which the formatter takes longer than all else that is recorded of it.
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let write = |bytes: &[u8], text: &mut [u8]| encode_to_slice(bytes, text).map_err(|_| fmt::Error);
        write(&self.trace_id.to_be_bytes(), &mut text[3..35])?;
        write(&self.span_id.to_be_bytes(), &mut text[36..52])?;
        write(&[self.flags], &mut text[53..])?;
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for TraceParent {
    /// There is nothing to do about an invalid header but to leave it.
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = text.as_bytes();
        let hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        let shaped = bytes.len() == 55
            && bytes
                .iter()
                .enumerate()
                .all(|(at, b)| if matches!(at, 2 | 35 | 52) { *b == b'-' } else { hex(b) });
        if !shaped || &text[..2] == "ff" {
            return Err(());
        }
        fn number<const N: usize>(digits: &[u8]) -> Result<[u8; N], ()> {
            decode_to_array(digits).map_err(|_| ())
        }
        let parent = Self {
            trace_id: u128::from_be_bytes(number(&bytes[3..35])?),
            span_id: u64::from_be_bytes(number(&bytes[36..52])?),
            flags: u8::from_be_bytes(number(&bytes[53..])?),
        };
        if parent.trace_id == 0 || parent.span_id == 0 { Err(()) } else { Ok(parent) }
    }
}

/// `traceparent` with its optional `tracestate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Where the next span hangs.
    pub parent: TraceParent,
    /// What tracing vendors add, passed on unread.
    pub state: Option<Box<str>>,
}

impl TraceContext {
    /// From the two headers; none when the first is invalid.
    pub fn parse(parent: &str, state: &str) -> Option<Self> {
        let parent = parent.parse().ok()?;
        let printable = state.bytes().all(|b| (0x20..0x7f).contains(&b));
        let state = (!state.is_empty() && state.len() <= MAX_STATE && printable).then(|| state.into());
        Some(Self { parent, state })
    }
}

impl From<TraceParent> for TraceContext {
    fn from(parent: TraceParent) -> Self {
        Self { parent, state: None }
    }
}
