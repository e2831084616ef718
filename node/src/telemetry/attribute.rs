//! Names of span, metric and log attributes: OpenTelemetry's own where it has one.

/// What carries the message: always [`SYSTEM`].
pub const RPC_SYSTEM: &str = "rpc.system";
/// The name of the called actor.
pub const RPC_SERVICE: &str = "rpc.service";
/// The operation.
pub const RPC_METHOD: &str = "rpc.method";
/// What carries letters: always [`SYSTEM`].
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// The name of the actor that a letter is for, or the topic that a message is published to.
pub const MESSAGING_DESTINATION: &str = "messaging.destination.name";
/// `send` or `process`.
pub const MESSAGING_OPERATION: &str = "messaging.operation.type";
/// The letter.
pub const MESSAGING_ID: &str = "messaging.message.id";
/// The method of an HTTP request.
pub const HTTP_METHOD: &str = "http.request.method";
/// Its path, without the query.
pub const URL_PATH: &str = "url.path";
/// The status of the answer.
pub const HTTP_STATUS: &str = "http.response.status_code";
/// All of a URL less its query.
pub const URL_FULL: &str = "url.full";
/// The server's host.
pub const SERVER_ADDRESS: &str = "server.address";
/// Its port.
pub const SERVER_PORT: &str = "server.port";
/// The kind of fault that ended it.
pub const ERROR_TYPE: &str = "error.type";
/// What trapped.
pub const EXCEPTION_TYPE: &str = "exception.type";
/// In one sentence.
pub const EXCEPTION_MESSAGE: &str = "exception.message";
/// The guest's frames.
pub const EXCEPTION_STACKTRACE: &str = "exception.stacktrace";

/// The key-value store or the container that a guest asks.
pub const STORE: &str = "lattice.store";
/// The actor's name.
pub const ACTOR: &str = "lattice.actor";
/// The name of the calling actor; empty for callers that are none.
pub const CALLER: &str = "lattice.caller";
/// What became of a message that was taken for somebody who subscribes: `handled`, `given-up`, or `left` for another try later.
pub const OUTCOME: &str = "lattice.outcome";
/// What is measured of a node: a kind of instance, a pool of memory.
pub const KIND: &str = "lattice.kind";
/// See [`KIND`].
pub const POOL: &str = "lattice.pool";
/// The key of a keyed actor. In spans and logs only: there is no end of keys.
pub const KEY: &str = "lattice.key";
/// The version of the actor: the revision of its app that last changed what it runs.
pub const VERSION: &str = "lattice.actor.version";
/// The message, the same over all attempts.
pub const MESSAGE: &str = "lattice.message.id";
/// 1 on the first try.
pub const ATTEMPT: &str = "lattice.attempt";
/// The name of the node.
pub const NODE: &str = "lattice.node";
/// The lattice.
pub const LATTICE: &str = "lattice.id";
/// Whether the message ran: `no`, `maybe` or `yes`.
pub const RAN: &str = "lattice.ran";
/// The incarnation of the node that an attempt went to.
pub const TARGET: &str = "lattice.target";
/// Why the router chose it.
pub const CHOICE: &str = "lattice.choice";
/// The topic of a message; in metrics, the pattern that a subscription names.
pub const TOPIC: &str = "lattice.topic";
/// Why a turn that nobody called for was run: `letter`, `topic`, `reminder` or `timer`.
pub const CAUSE: &str = "lattice.cause";
/// What was made anew while a message waited: `key` or `replica`.
pub const START: &str = "lattice.start";
/// Spans of one trace on this node that were left out, as there were too many of them.
pub const LEFT_OUT: &str = "lattice.spans.dropped";

/// The value of the two `system` attributes.
pub const SYSTEM: &str = "lattice";
