//! What nodes tell of the traces that they have kept. The spans are those of OpenTelemetry, which this crate does not look into.

use bytes::Bytes;
use prost::Message;

use crate::envelope::{Malformed, VERSION, check_version, decode, parse, wire};
use crate::id::{ActorName, NodeName};

/// The most spans of one answer.
pub const MAX_SPANS: usize = 5_000;

/// Which spans of those that a node has kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The first one of each part, the latest first.
    Firsts {
        /// Only parts in which this actor is.
        actor: Option<ActorName>,
        /// At most so many.
        most: usize,
    },
    /// All of this trace.
    Trace(u128),
}

impl Query {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let (trace_id, actor, most) = match self {
            Query::Firsts { actor, most } => {
                (Bytes::new(), actor.as_ref().map(ActorName::to_string).unwrap_or_default(), *most)
            }
            Query::Trace(id) => (Bytes::copy_from_slice(&id.to_be_bytes()), String::new(), MAX_SPANS),
        };
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        wire::TraceQuery { version: VERSION, trace_id, actor, most }.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no query of a version that this node answers.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let query: wire::TraceQuery = decode(bytes)?;
        check_version(query.version)?;
        if !query.trace_id.is_empty() {
            let id: [u8; 16] =
                query.trace_id[..].try_into().map_err(|_| Malformed::field("trace_id", "not 16 bytes"))?;
            return Ok(Query::Trace(u128::from_be_bytes(id)));
        }
        let actor = match query.actor.as_str() {
            "" => None,
            actor => Some(parse("actor", actor)?),
        };
        Ok(Query::Firsts { actor, most: (query.most as usize).min(MAX_SPANS) })
    }
}

/// What one node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spans {
    /// The node.
    pub node: NodeName,
    /// Each as OpenTelemetry encodes it.
    pub spans: Vec<Bytes>,
    /// Whether some were left out.
    pub cut: bool,
}

impl Spans {
    /// As bytes for the wire, of at most so many; what has no room is left out.
    pub fn encode(mut self, most: usize) -> Bytes {
        let mut size = 128;
        let fits = |span: &&Bytes| {
            size += span.len() + 8;
            size <= most
        };
        let count = self.spans.iter().take(MAX_SPANS).take_while(fits).count();
        self.cut |= count < self.spans.len();
        self.spans.truncate(count);
        let Self { node, spans, cut } = self;
        wire::TraceSpans { version: VERSION, node: node.to_string(), spans, cut }.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no answer of a version that this node reads.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::TraceSpans = decode(bytes)?;
        check_version(message.version)?;
        if message.spans.len() > MAX_SPANS {
            return Err(Malformed::field("spans", format!("more than {MAX_SPANS}")));
        }
        Ok(Self { node: parse("node", &message.node)?, spans: message.spans, cut: message.cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_cross_the_wire() {
        let all = Query::Firsts { actor: None, most: 7 };
        let one = Query::Firsts { actor: Some("cart".parse().unwrap()), most: 7 };
        for query in [all, one, Query::Trace(1 << 100)] {
            assert_eq!(Query::decode(query.encode()), Ok(query));
        }
        let short =
            wire::TraceQuery { version: VERSION, trace_id: Bytes::from_static(b"x"), ..Default::default() };
        assert!(Query::decode(short.encode_to_vec().into()).is_err());
    }

    #[test]
    fn what_has_no_room_is_left_out_and_that_is_said() {
        let spans =
            Spans { node: "n1".parse().unwrap(), spans: vec![Bytes::from(vec![7; 100]); 50], cut: false };
        assert_eq!(Spans::decode(spans.clone().encode(1 << 20)), Ok(spans.clone()));
        let bytes = spans.encode(2_000);
        assert!(bytes.len() <= 2_000);
        let cut = Spans::decode(bytes).unwrap();
        assert!(cut.cut && cut.spans.len() == 17, "{}", cut.spans.len());
    }
}
