//! Every NATS subject, bucket and stream name of a lattice, built and parsed in one place.
//!
//! ```text
//! lat.<lattice>.node.<incarnation>.<call|reply|cancel|…>         the inbox of one node
//! lat.<lattice>.body.<incarnation>                               what follows of the bodies of HTTP requests and their answers
//! lat.<lattice>.call.<actor>[.<key>].<operation>                 programs that are not actors
//! lat.<lattice>.survey.<incarnation>                             how one node is, and what it has done
//! lat.<lattice>.tap.<incarnation>                                which messages one node handles, for whoever watches an actor
//! lat.<lattice>.trace.<incarnation>                              what one node has kept of calls that failed or were slow
//! lat.<lattice>.log.<incarnation>                                lines of logs that one node keeps
//! lat.<lattice>.control.<term|catalog|spec.…|assign.…>           what is declared and decided
//! lat.<lattice>.route.<actor>                                    routes, republished as they change
//! lat.<lattice>.event.<kind>                                     what happened
//! lat.<lattice>.state.<partition>.<shard>.<actor>.<key>          what keyed actors keep
//! lat.<lattice>.mailbox.<partition>.<shard>.<actor>.<key>        letters for keyed actors
//! lat.<lattice>.outbox.<partition>.<shard>.<actor>.<key>         which keys may have letters that were not posted yet
//! lat.<lattice>.reminder.<partition>.<shard>.<actor>.<key>.<id>  what keys want to be reminded of
//! lat.<lattice>.due.<partition>.<shard>.<actor>.<key>.<id>       what is due of that
//! lat.<lattice>.send.<actor>                                     letters for replicated actors
//! lat.<lattice>.topic.<topic>                                    messages for whoever subscribes to their topics
//! lat.<lattice>.dead.<actor>.<letter>                            letters that nobody could handle
//! lat.<lattice>.unheard.<actor>.<letter>                         the same of messages of topics
//! ```

use std::fmt::Write;

use crate::envelope::MAX_TOGETHER;
use crate::event::Kind;
use crate::id::{
    ActorId, ActorName, AppName, Incarnation, LatticeId, MAX_KEY_BYTES, MessageId, NodeName, Operation,
    StoreName, Topic, TopicPattern,
};
use crate::reminder;
use crate::shard::Shard;

/// Why a subject could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed subject: {0}")]
pub struct Malformed(&'static str);

/// What arrives in a node's inbox, told apart by what follows the node in the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbox {
    /// Encoded [`crate::envelope::Calls`].
    Call,
    /// Encoded [`crate::envelope::Replies`].
    Reply,
    /// Where NATS says that nobody got some calls.
    Refused(Refused),
    /// An encoded [`crate::envelope::Cancel`].
    Cancel,
    /// Empty; answered at once and empty.
    Ping,
    /// An encoded [`crate::envelope::Suspicion`]; for the leader.
    Suspect,
    /// An encoded [`crate::envelope::LoadReport`]; for the leader.
    Load,
    /// An encoded [`crate::envelope::Wake`]; for the leader.
    Wake,
}

/// Calls that were sent together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// To whom.
    pub peer: Incarnation,
    /// The number of the first.
    pub first: u64,
    /// How many, as many as a frame holds at the most.
    pub count: u64,
}

/// How what nobody could handle came to its actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As a letter.
    Sent,
    /// By a topic. Whoever may publish can make as many of these as it likes, so that they have no room in common with others.
    Published,
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Way::Sent => "dead",
            Way::Published => "unheard",
        }
    }
}

/// A key of the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Who leads; the guard of every plan.
    Term,
    /// The current revision of every app; the guard of every declaration.
    Catalog,
    /// One revision of one app.
    Spec(AppName, u64),
    /// What one node is to run.
    Assign(NodeName),
    /// What an operator wants of one node.
    Node(NodeName),
    /// Who owns which shard.
    Shards,
}

/// Builds and parses the names of one lattice.
#[derive(Debug, Clone)]
pub struct Subjects {
    lattice: LatticeId,
    prefix: String,
}

impl Subjects {
    /// Those of this lattice.
    pub fn new(lattice: LatticeId) -> Self {
        let prefix = format!("lat.{lattice}.");
        Self { lattice, prefix }
    }

    /// The lattice whose names these are.
    pub fn lattice(&self) -> &LatticeId {
        &self.lattice
    }

    /// One box of a node's inbox.
    pub fn inbox(&self, node: &Incarnation, inbox: &Inbox) -> String {
        let prefix = &self.prefix;
        match inbox {
            Inbox::Call => format!("{prefix}node.{node}.call"),
            Inbox::Reply => format!("{prefix}node.{node}.reply"),
            Inbox::Refused(Refused { peer, first, count }) => {
                format!("{prefix}node.{node}.refused.{peer}.{first}.{count}")
            }
            Inbox::Cancel => format!("{prefix}node.{node}.cancel"),
            Inbox::Ping => format!("{prefix}node.{node}.ping"),
            Inbox::Suspect => format!("{prefix}node.{node}.suspect"),
            Inbox::Load => format!("{prefix}node.{node}.load"),
            Inbox::Wake => format!("{prefix}node.{node}.wake"),
        }
    }

    /// Where a node answers by the connection that its leases go over. It is no part of its inbox, which comes by another.
    pub fn pulse(&self, node: &Incarnation) -> String {
        format!("{}pulse.{node}", self.prefix)
    }

    /// Where a node gets what follows of bodies.
    pub fn body(&self, node: &Incarnation) -> String {
        format!("{}body.{node}", self.prefix)
    }

    /// Where a node is asked for lines of logs.
    pub fn log(&self, node: &Incarnation) -> String {
        format!("{}log.{node}", self.prefix)
    }

    /// Where a node is asked how it is.
    pub fn survey(&self, node: &Incarnation) -> String {
        format!("{}survey.{node}", self.prefix)
    }

    /// Where a node is asked for the traces that it has kept.
    pub fn trace(&self, node: &Incarnation) -> String {
        format!("{}trace.{node}", self.prefix)
    }

    /// Where a node is asked for messages that it handles.
    pub fn tap(&self, node: &Incarnation) -> String {
        format!("{}tap.{node}", self.prefix)
    }

    /// What a node subscribes to, to get its whole inbox.
    pub fn inbox_filter(&self, node: &Incarnation) -> String {
        format!("{}node.{node}.>", self.prefix)
    }

    /// Which box a subject under [`Self::inbox_filter`] names.
    ///
    /// # Errors
    /// When what follows the node names none.
    pub fn parse_inbox(&self, subject: &str) -> Result<Inbox, Malformed> {
        let (_, box_) = subject
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix("node."))
            .and_then(|rest| rest.split_once('.'))
            .ok_or(Malformed("not an inbox"))?;
        match box_ {
            "call" => return Ok(Inbox::Call),
            "reply" => return Ok(Inbox::Reply),
            "cancel" => return Ok(Inbox::Cancel),
            "ping" => return Ok(Inbox::Ping),
            "suspect" => return Ok(Inbox::Suspect),
            "load" => return Ok(Inbox::Load),
            "wake" => return Ok(Inbox::Wake),
            _ => {}
        }
        let refused = box_.strip_prefix("refused.").ok_or(Malformed("unknown inbox"))?;
        let mut tokens = refused.split('.');
        let (Some(peer), Some(first), Some(count), None) =
            (tokens.next(), tokens.next(), tokens.next(), tokens.next())
        else {
            return Err(Malformed("expected `refused.<node>.<first>.<count>`"));
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| Malformed("invalid number"));
        let peer = peer.parse().map_err(|_| Malformed("invalid incarnation"))?;
        let (first, count) = (number(first)?, number(count)?);
        if count > MAX_TOGETHER as u64 || first.checked_add(count).is_none() {
            return Err(Malformed("more calls than one frame holds"));
        }
        Ok(Inbox::Refused(Refused { peer, first, count }))
    }

    /// Where plain NATS clients call an actor.
    pub fn ingress(&self, target: &ActorId, operation: &Operation) -> String {
        let mut subject = format!("{}call.{}.", self.prefix, target.name);
        if let Some(key) = &target.key {
            subject.push_str(&encode_key(key));
            subject.push('.');
        }
        subject.push_str(operation.as_str());
        subject
    }

    /// What every node subscribes to, in one queue group.
    pub fn ingress_filter(&self) -> String {
        format!("{}call.>", self.prefix)
    }

    /// Whom a subject under [`Self::ingress_filter`] calls.
    ///
    /// # Errors
    /// When it has the wrong number of tokens or one of them is no valid name.
    pub fn parse_ingress(&self, subject: &str) -> Result<(ActorId, Operation), Malformed> {
        let rest = subject
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix("call."))
            .ok_or(Malformed("not a call"))?;
        let tokens: Vec<&str> = rest.split('.').collect();
        let (name, key, operation) = match tokens[..] {
            [name, operation] => (name, None, operation),
            [name, key, operation] => (name, Some(decode_key(key)?), operation),
            _ => return Err(Malformed("expected `<actor>.<operation>` or `<actor>.<key>.<operation>`")),
        };
        let name = name.parse().map_err(|_| Malformed("invalid actor name"))?;
        let operation = operation.parse().map_err(|_| Malformed("invalid operation"))?;
        Ok((ActorId { name, key: key.map(Into::into) }, operation))
    }

    /// A key of the control stream.
    pub fn control(&self, key: &Control) -> String {
        let prefix = &self.prefix;
        match key {
            Control::Term => format!("{prefix}control.term"),
            Control::Catalog => format!("{prefix}control.catalog"),
            Control::Spec(app, revision) => format!("{prefix}control.spec.{app}.{revision}"),
            Control::Assign(node) => format!("{prefix}control.assign.{node}"),
            Control::Node(node) => format!("{prefix}control.node.{node}"),
            Control::Shards => format!("{prefix}control.shards"),
        }
    }

    /// All keys of [`Control::Node`].
    pub fn control_nodes_filter(&self) -> String {
        self.control_filter().replace('>', "node.*")
    }

    /// All keys of the control stream.
    pub fn control_filter(&self) -> String {
        format!("{}control.>", self.prefix)
    }

    /// Which key of the control stream a subject names.
    ///
    /// # Errors
    /// When it names none.
    pub fn parse_control(&self, subject: &str) -> Result<Control, Malformed> {
        let rest = subject
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix("control."))
            .ok_or(Malformed("not a control subject"))?;
        let tokens: Vec<&str> = rest.split('.').collect();
        match tokens[..] {
            ["term"] => Ok(Control::Term),
            ["catalog"] => Ok(Control::Catalog),
            ["shards"] => Ok(Control::Shards),
            ["spec", app, revision] => Ok(Control::Spec(
                app.parse().map_err(|_| Malformed("invalid app name"))?,
                revision.parse().map_err(|_| Malformed("invalid revision"))?,
            )),
            ["node", node] => Ok(Control::Node(node.parse().map_err(|_| Malformed("invalid node name"))?)),
            ["assign", node] => {
                Ok(Control::Assign(node.parse().map_err(|_| Malformed("invalid node name"))?))
            }
            _ => Err(Malformed("unknown control subject")),
        }
    }

    /// Where an actor's route is republished whenever it changes.
    pub fn route(&self, actor: &ActorName) -> String {
        format!("{}route.{actor}", self.prefix)
    }

    /// The destination pattern by which the routes bucket republishes its keys.
    pub fn route_republish(&self) -> (String, String) {
        (format!("$KV.{}.>", self.routes_bucket()), format!("{}route.>", self.prefix))
    }

    /// Where what happened is published.
    pub fn event(&self, kind: Kind) -> String {
        format!("{}event.{kind}", self.prefix)
    }

    /// All subjects of events.
    pub fn events_filter(&self) -> String {
        format!("{}event.>", self.prefix)
    }

    /// The kind that a subject under [`Self::events_filter`] names.
    ///
    /// # Errors
    /// When it names none; a later version may have more of them.
    pub fn parse_event(&self, subject: &str) -> Result<Kind, Malformed> {
        let word = subject.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix("event."));
        let word = word.ok_or(Malformed("not an event"))?;
        word.parse().map_err(|_| Malformed("unknown kind of event"))
    }

    /// Where the record of one key is kept.
    pub fn state(&self, shard: Shard, actor: &ActorName, key: &str) -> String {
        let (prefix, partition) = (&self.prefix, shard.partition());
        format!("{prefix}state.{partition}.{shard}.{actor}.{}", encode_key(key))
    }

    /// All records of one partition.
    pub fn state_filter(&self, partition: u16) -> String {
        format!("{}state.{partition}.>", self.prefix)
    }

    /// The records of one actor in one partition.
    pub fn states_of(&self, partition: u16, actor: &ActorName) -> String {
        format!("{}state.{partition}.*.{actor}.*", self.prefix)
    }

    /// Whose record a subject under [`Self::state_filter`] names.
    ///
    /// # Errors
    /// When it has the wrong number of tokens or one of them is no valid name.
    pub fn parse_state(&self, subject: &str) -> Result<(Shard, ActorId), Malformed> {
        let rest = subject.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix("state."));
        parse_keyed(rest.ok_or(Malformed("not a state record"))?)
    }

    /// Where letters for a key are posted.
    pub fn mailbox(&self, shard: Shard, actor: &ActorName, key: &str) -> String {
        let (prefix, partition) = (&self.prefix, shard.partition());
        format!("{prefix}mailbox.{partition}.{shard}.{actor}.{}", encode_key(key))
    }

    /// Where it is said that a key may have letters which were not posted yet.
    pub fn outbox(&self, shard: Shard, actor: &ActorName, key: &str) -> String {
        let (prefix, partition) = (&self.prefix, shard.partition());
        format!("{prefix}outbox.{partition}.{shard}.{actor}.{}", encode_key(key))
    }

    /// All of [`Self::mailbox`] and [`Self::outbox`] of one partition.
    pub fn mail_filters(&self, partition: u16) -> [String; 2] {
        ["mailbox", "outbox"].map(|kind| format!("{}{kind}.{partition}.>", self.prefix))
    }

    /// The same of one shard.
    pub fn shard_mail_filters(&self, shard: Shard) -> [String; 2] {
        let partition = shard.partition();
        ["mailbox", "outbox"].map(|kind| format!("{}{kind}.{partition}.{shard}.>", self.prefix))
    }

    /// Which key a subject under [`Self::mail_filters`] names, and whether it is for its mailbox.
    ///
    /// # Errors
    /// When it has the wrong number of tokens or one of them is no valid name.
    pub fn parse_mail(&self, subject: &str) -> Result<(Mail, Shard, ActorId), Malformed> {
        let rest = subject.strip_prefix(&self.prefix).and_then(|rest| rest.split_once('.'));
        let (kind, rest) = match rest {
            Some(("mailbox", rest)) => (Mail::Letter, rest),
            Some(("outbox", rest)) => (Mail::Outbox, rest),
            _ => return Err(Malformed("neither a mailbox nor an outbox")),
        };
        parse_keyed(rest).map(|(shard, actor)| (kind, shard, actor))
    }

    /// Where the server is told when to remind a key of something.
    pub fn reminder(&self, shard: Shard, actor: &ActorName, key: &str, id: &str) -> String {
        self.reminding("reminder", shard, actor, key, id)
    }

    /// Where it says that the time has come.
    pub fn due(&self, shard: Shard, actor: &ActorName, key: &str, id: &str) -> String {
        self.reminding("due", shard, actor, key, id)
    }

    fn reminding(&self, what: &str, shard: Shard, actor: &ActorName, key: &str, id: &str) -> String {
        let (prefix, partition, key, id) =
            (&self.prefix, shard.partition(), encode_key(key), reminder::token(id));
        format!("{prefix}{what}.{partition}.{shard}.{actor}.{key}.{id}")
    }

    /// All of [`Self::reminder`] and [`Self::due`].
    pub fn reminder_filters(&self) -> [String; 2] {
        ["reminder", "due"].map(|what| format!("{}{what}.>", self.prefix))
    }

    /// All of [`Self::due`] of one shard.
    pub fn shard_due_filter(&self, shard: Shard) -> String {
        format!("{}due.{}.{shard}.>", self.prefix, shard.partition())
    }

    /// Which key a subject under [`Self::shard_due_filter`] names.
    ///
    /// # Errors
    /// When it has the wrong number of tokens or one of them is no valid name.
    pub fn parse_due(&self, subject: &str) -> Result<(Shard, ActorId), Malformed> {
        let rest = subject.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix("due."));
        let (key, _id) =
            rest.and_then(|rest| rest.rsplit_once('.')).ok_or(Malformed("nothing that is due"))?;
        parse_keyed(key)
    }

    /// Where letters for a replicated actor are posted.
    pub fn send(&self, actor: &ActorName) -> String {
        format!("{}send.{actor}", self.prefix)
    }

    /// All of [`Self::send`].
    pub fn send_filter(&self) -> String {
        format!("{}send.*", self.prefix)
    }

    /// Where messages of a topic are published.
    pub fn topic(&self, topic: &Topic) -> String {
        format!("{}topic.{topic}", self.prefix)
    }

    /// All of [`Self::topic`] that a pattern stands for.
    pub fn topic_filter(&self, pattern: &TopicPattern) -> String {
        format!("{}topic.{pattern}", self.prefix)
    }

    /// All of [`Self::topic`].
    pub fn topics_filter(&self) -> String {
        format!("{}topic.>", self.prefix)
    }

    /// Which topic a subject under [`Self::topics_filter`] names.
    ///
    /// # Errors
    /// When it names none: NATS lets subjects hold more than topics do.
    pub fn parse_topic(&self, subject: &str) -> Result<Topic, Malformed> {
        let topic = subject.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix("topic."));
        topic.ok_or(Malformed("not of a topic"))?.parse().map_err(|_| Malformed("invalid topic"))
    }

    /// Where a letter is kept that nobody could handle.
    pub fn dead(&self, way: Way, actor: &ActorName, letter: &MessageId) -> String {
        format!("{}{}.{actor}.{letter}", self.prefix, way.as_str())
    }

    /// One of [`Self::dead`], whomever it was for.
    pub fn dead_letter_filter(&self, way: Way, letter: &MessageId) -> String {
        format!("{}{}.*.{letter}", self.prefix, way.as_str())
    }

    /// Which letter a subject under [`Self::dead_filter`] names, and for whom it was.
    ///
    /// # Errors
    /// When it names none.
    pub fn parse_dead(&self, subject: &str) -> Result<(ActorName, MessageId), Malformed> {
        let none = Malformed("not a dead letter");
        let rest = subject.strip_prefix(&self.prefix).and_then(|rest| rest.split_once('.'));
        let ways = [Way::Sent, Way::Published];
        let rest = rest.filter(|(word, _)| ways.iter().any(|way| way.as_str() == *word));
        let (actor, letter) = rest.and_then(|(_, rest)| rest.split_once('.')).ok_or(none)?;
        let actor = actor.parse().map_err(|_| Malformed("invalid actor name"))?;
        Ok((actor, letter.parse().map_err(|_| Malformed("invalid message id"))?))
    }

    /// All of [`Self::dead`]; of one actor, or of all.
    pub fn dead_filter(&self, way: Way, actor: Option<&ActorName>) -> String {
        let way = way.as_str();
        match actor {
            Some(actor) => format!("{}{way}.{actor}.*", self.prefix),
            None => format!("{}{way}.>", self.prefix),
        }
    }

    /// The stream of the records of one partition.
    pub fn state_stream(&self, partition: u16) -> String {
        format!("lat_{}_state_{partition}", self.lattice)
    }

    /// The stream of the letters of one partition.
    pub fn mail_stream(&self, partition: u16) -> String {
        format!("lat_{}_mail_{partition}", self.lattice)
    }

    /// The stream of reminders.
    pub fn reminders_stream(&self) -> String {
        format!("lat_{}_reminders", self.lattice)
    }

    /// The stream of letters for replicated actors.
    pub fn sends_stream(&self) -> String {
        format!("lat_{}_sends", self.lattice)
    }

    /// The stream of messages of topics.
    pub fn topics_stream(&self) -> String {
        format!("lat_{}_topics", self.lattice)
    }

    /// The stream of letters that nobody could handle.
    pub fn dead_stream(&self, way: Way) -> String {
        format!("lat_{}_{}", self.lattice, way.as_str())
    }

    /// The stream of what happened.
    pub fn events_stream(&self) -> String {
        format!("lat_{}_events", self.lattice)
    }

    /// The stream of specs and assignments.
    pub fn control_stream(&self) -> String {
        format!("lat_{}_control", self.lattice)
    }

    /// The bucket of node and leader leases.
    pub fn leases_bucket(&self) -> String {
        format!("lat_{}_leases", self.lattice)
    }

    /// The bucket of what nodes are and run.
    pub fn nodes_bucket(&self) -> String {
        format!("lat_{}_nodes", self.lattice)
    }

    /// The bucket of where actors run.
    pub fn routes_bucket(&self) -> String {
        format!("lat_{}_routes", self.lattice)
    }

    /// The bucket of one of the guests' key-value stores.
    pub fn keyvalue_bucket(&self, store: &StoreName) -> String {
        format!("lat_{}_keyvalue_{store}", self.lattice)
    }

    /// The object store of one of the guests' containers.
    pub fn blob_bucket(&self, container: &StoreName) -> String {
        format!("{}{container}", self.blob_buckets())
    }

    /// What the names of all of [`Self::blob_bucket`] begin with, and no others.
    pub fn blob_buckets(&self) -> String {
        format!("lat_{}_blobs_", self.lattice)
    }

    /// The object store of artifacts.
    pub fn artifacts_bucket(&self) -> String {
        format!("lat_{}_artifacts", self.lattice)
    }
}

/// The name of what an actor gets of its subscription to a pattern, in the stream of topics. No name of a NATS consumer holds
/// what makes a pattern of a topic, so other signs stand for it.
pub fn subscription(actor: &ActorName, pattern: &TopicPattern) -> String {
    let sign = |sign| match sign {
        '.' => '+',
        '*' => '=',
        '>' => '~',
        other => other,
    };
    format!("{actor}_{}", pattern.as_str().chars().map(sign).collect::<String>())
}

/// The actor and the pattern of a name that [`subscription`] made; none of any other name.
pub fn parse_subscription(name: &str) -> Option<(ActorName, TopicPattern)> {
    // No actor's name holds the sign in between.
    let (actor, pattern) = name.split_once('_')?;
    let sign = |sign| match sign {
        '+' => '.',
        '=' => '*',
        '~' => '>',
        other => other,
    };
    let pattern: String = pattern.chars().map(sign).collect();
    Some((actor.parse().ok()?, pattern.parse().ok()?))
}

/// What lies in a mail stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mail {
    /// A letter for the key.
    Letter,
    /// Word that the key may have letters which were not posted yet.
    Outbox,
}

/// `<partition>.<shard>.<actor>.<key>`
fn parse_keyed(rest: &str) -> Result<(Shard, ActorId), Malformed> {
    let tokens: Vec<&str> = rest.split('.').collect();
    let [partition, shard, name, key] = tokens[..] else {
        return Err(Malformed("expected `<partition>.<shard>.<actor>.<key>`"));
    };
    let number = |text: &str| text.parse::<u16>().map_err(|_| Malformed("invalid number"));
    let shard = Shard(number(shard)?);
    if number(partition)? != shard.partition() {
        return Err(Malformed("a shard in the wrong partition"));
    }
    let name = name.parse().map_err(|_| Malformed("invalid actor name"))?;
    Ok((shard, ActorId { name, key: Some(decode_key(key)?.into()) }))
}

/// A key as one subject token: bytes outside `[A-Za-z0-9_-]` become `=XX`.
pub fn encode_key(key: &str) -> String {
    let mut token = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            token.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(token, "={byte:02X}");
        }
    }
    token
}

/// The key of a token that [`encode_key`] made.
///
/// # Errors
/// When it is none: each key has one token.
pub fn decode_key(token: &str) -> Result<String, Malformed> {
    const WRONG: Malformed = Malformed("a key holds letters, digits, `-`, `_` and `=XX` for other bytes");
    let mut key = Vec::with_capacity(token.len());
    let mut bytes = token.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'=' => {
                let digit = |b: Option<u8>| match b {
                    Some(b @ (b'0'..=b'9' | b'A'..=b'F')) => char::from(b).to_digit(16).ok_or(WRONG),
                    _ => Err(WRONG),
                };
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                let byte = u8::try_from(high * 16 + low).map_err(|_| WRONG)?;
                // One key must have one spelling, or two subjects would reach the same activation.
                if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
                    return Err(WRONG);
                }
                key.push(byte);
            }
            b if b.is_ascii_alphanumeric() || b == b'_' || b == b'-' => key.push(b),
            _ => return Err(WRONG),
        }
    }
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(Malformed("a key has 1 to 256 bytes"));
    }
    String::from_utf8(key).map_err(|_| Malformed("a key is UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subjects() -> Subjects {
        Subjects::new("shop".parse().unwrap())
    }

    #[test]
    fn ingress_subjects_are_read() {
        let subjects = subjects();
        let (target, operation) = subjects.parse_ingress("lat.shop.call.greeter.hello").unwrap();
        assert_eq!((target.to_string().as_str(), operation.as_str()), ("greeter", "hello"));
        let (target, _) = subjects.parse_ingress("lat.shop.call.cart.a=2Fb.add").unwrap();
        assert_eq!(target.to_string(), "cart/a/b");
    }

    #[test]
    fn garbage_is_refused() {
        for bad in [
            "lat.shop.call.greeter",
            "lat.shop.call.greeter.a.b.c",
            "lat.shop.call.Greeter.hello",
            "lat.shop.call.cart.=zz.add",
            "lat.shop.call.cart.=4.add",
            "lat.shop.call.cart.=41.add",
            "lat.other.call.greeter.hello",
            "lat.shop.call..hello",
        ] {
            assert!(subjects().parse_ingress(bad).is_err(), "{bad}");
        }
        for bad in ["lat.shop.control.spec.a.x", "lat.shop.control.nothing", "lat.shop.node.x.call"] {
            assert!(subjects().parse_control(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn inboxes_and_control_keys_round_trip() {
        let (subjects, node) = (subjects(), Incarnation::generate());
        let refused = Inbox::Refused(Refused { peer: Incarnation::generate(), first: 7, count: 2 });
        let told = [Inbox::Suspect, Inbox::Load, Inbox::Wake, refused];
        for inbox in [Inbox::Call, Inbox::Reply, Inbox::Cancel, Inbox::Ping].into_iter().chain(told) {
            assert_eq!(subjects.parse_inbox(&subjects.inbox(&node, &inbox)), Ok(inbox));
        }
        for bad in
            ["x", "refused", "refused.a.1", "refused.a.1.x", "refused.a.1.2.3", "refused.a.1.257", "call.x"]
        {
            assert!(subjects.parse_inbox(&format!("lat.shop.node.{node}.{bad}")).is_err(), "{bad}");
        }
        for key in [
            Control::Term,
            Control::Catalog,
            Control::Spec("shop".parse().unwrap(), 7),
            Control::Assign("edge_1".parse().unwrap()),
            Control::Node("edge_1".parse().unwrap()),
        ] {
            assert_eq!(subjects.parse_control(&subjects.control(&key)), Ok(key));
        }
    }

    #[test]
    fn events_are_told_apart_by_their_subjects() {
        for kind in Kind::ALL {
            assert_eq!(subjects().parse_event(&subjects().event(*kind)), Ok(*kind));
        }
        for bad in [
            "lat.shop.event.",
            "lat.shop.event.nothing",
            "lat.shop.event.app-met.x",
            "lat.other.event.app-met",
        ] {
            assert!(subjects().parse_event(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mail_is_told_apart_by_its_subjects() {
        let (subjects, cart) = (subjects(), "cart".parse().unwrap());
        let shard = Shard(21);
        let letter = subjects.mailbox(shard, &cart, "a.b");
        assert_eq!(letter, "lat.shop.mailbox.5.21.cart.a=2Eb");
        let actor: ActorId = "cart/a.b".parse().unwrap();
        assert_eq!(subjects.parse_mail(&letter), Ok((Mail::Letter, shard, actor.clone())));
        let outbox = subjects.outbox(shard, &cart, "a.b");
        assert_eq!(subjects.parse_mail(&outbox), Ok((Mail::Outbox, shard, actor)));
        for bad in [
            "lat.shop.mailbox.5.21.cart",
            "lat.shop.mailbox.6.21.cart.a",
            "lat.shop.outbox.5.21.Cart.a",
            "lat.shop.state.5.21.cart.a",
            "lat.other.mailbox.5.21.cart.a",
        ] {
            assert!(subjects.parse_mail(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_due_names_its_key() {
        let (subjects, cart) = (subjects(), "cart".parse().unwrap());
        let due = subjects.due(Shard(21), &cart, "a.b", "expire at * > night");
        assert!(due.starts_with("lat.shop.due.5.21.cart.a=2Eb.") && due.split('.').count() == 8, "{due}");
        assert_eq!(subjects.parse_due(&due), Ok((Shard(21), "cart/a.b".parse().unwrap())));
        for bad in
            ["lat.shop.due.5.21.cart.a", "lat.shop.reminder.5.21.cart.a.b", "lat.shop.due.4.21.cart.a.b"]
        {
            assert!(subjects.parse_due(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dead_letters_are_read_whichever_way_they_came() {
        let (subjects, cart, id) = (subjects(), "cart".parse().unwrap(), "a-1".parse().unwrap());
        for (way, subject) in
            [(Way::Sent, "lat.shop.dead.cart.a-1"), (Way::Published, "lat.shop.unheard.cart.a-1")]
        {
            assert_eq!(subjects.dead(way, &cart, &id), subject);
            assert_eq!(subjects.parse_dead(subject), Ok((cart.clone(), id.clone())));
        }
        for bad in
            ["lat.shop.dead.cart", "lat.shop.topic.cart.a", "lat.other.dead.cart.a", "lat.shop.dead.Cart.a"]
        {
            assert!(subjects.parse_dead(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn topics_and_subscriptions_are_read() {
        let subjects = subjects();
        let topic = "orders.created".parse().unwrap();
        assert_eq!(subjects.topic(&topic), "lat.shop.topic.orders.created");
        assert_eq!(subjects.parse_topic("lat.shop.topic.orders.created"), Ok(topic));
        for bad in [
            "lat.shop.topic.",
            "lat.shop.topic.a$",
            "lat.shop.topic.a..b",
            "lat.other.topic.a",
            "lat.shop.topic",
        ] {
            assert!(subjects.parse_topic(bad).is_err(), "{bad}");
        }
        for pattern in ["orders.created", "a-b_c.*.x", ">", "stock.*.>"] {
            let (actor, pattern): (ActorName, TopicPattern) =
                ("cart-2".parse().unwrap(), pattern.parse().unwrap());
            let name = subscription(&actor, &pattern);
            assert!(!name.contains(['.', '*', '>', ' ', '/']), "{name}");
            assert_eq!(parse_subscription(&name), Some((actor, pattern)));
        }
        for other in ["", "nodes", "Cart_a", "cart_", "cart_a.b ", "_a"] {
            assert_eq!(parse_subscription(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_key_survives_its_subject(key in "\\PC{1,60}") {
            let target: ActorId = format!("cart/{key}").parse().unwrap();
            let operation: Operation = "add".parse().unwrap();
            let subject = subjects().ingress(&target, &operation);
            prop_assert!(!subject.contains([' ', '*', '>']));
            prop_assert_eq!(subjects().parse_ingress(&subject), Ok((target, operation)));
        }

        #[test]
        fn no_subject_panics(subject in ".{0,80}") {
            let _ = subjects().parse_ingress(&subject);
            let _ = subjects().parse_control(&subject);
            let _ = subjects().parse_event(&subject);
            let _ = subjects().parse_mail(&subject);
            let _ = subjects().parse_due(&subject);
            let _ = subjects().parse_state(&subject);
            let _ = subjects().parse_inbox(&subject);
            let _ = subjects().parse_topic(&subject);
            let _ = parse_subscription(&subject);
        }
    }
}
