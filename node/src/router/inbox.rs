//! What other nodes send to this one: calls, replies, cancellations, pings and what a leader is told, on one subscription, and bodies of
//! HTTP requests and answers on another, which no call waits behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::envelope::{
    Aim, Call, Calls, Cancel, LoadReport, Malformed, Replies, Reply, Suspicion, Wake,
};
use lattice_proto::http::Frame;
use lattice_proto::subject::Inbox;
use lattice_proto::{Fault, Incarnation, Ran};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::handled::Handled;
use super::keyed::check_key;
use super::peer::{Peer, Peers};
use super::{Router, Shared, serving};
use crate::bus::{Error, ReplyTo, Subscription};
use crate::replica::{Cause, Message, Respond};
use crate::telemetry::{Counters, Scope, Turned};

/// What is left for the envelope around the largest payload.
pub const ENVELOPE_ROOM: usize = 64 << 10;

/// How often the deadlines of handled calls are looked at. Callers wait a little longer for what that finds.
const EXPIRE: Duration = Duration::from_millis(10);

/// What a leader is told by other nodes.
#[derive(Debug)]
pub enum Told {
    /// Somebody stopped answering.
    Suspect(Incarnation),
    /// How busy a node is.
    Load(LoadReport),
    /// Calls are held.
    Wake(Wake),
}

/// What messages for this node arrive by.
pub struct Opened {
    inbox: Subscription,
    bodies: Subscription,
}

/// Serves this node's inbox.
pub struct Inboxes {
    router: Router,
    peers: Peers,
    told: mpsc::Sender<Told>,
    handled: Handled,
}

impl Inboxes {
    /// An inbox for this router; what a leader is told is passed on.
    pub fn new(router: Router, peers: Peers, told: mpsc::Sender<Told>) -> Self {
        Self { router, peers, told, handled: Handled::default() }
    }

    /// Subscribes. Messages that arrive before [`Self::serve`] runs wait.
    ///
    /// # Errors
    /// When the client is closed.
    pub async fn open(&self) -> Result<Opened, Error> {
        let Shared { bus, subjects, incarnation, .. } = &*self.router.shared;
        Ok(Opened {
            inbox: bus.subscribe(subjects.inbox_filter(incarnation), None).await?,
            bodies: bus.subscribe(subjects.body(incarnation), None).await?,
        })
    }

    /// Serves until a subscription ends.
    pub async fn serve(self, opened: Opened) {
        let bodies = bodies(self.peers.clone(), self.router.shared.counters.clone(), opened.bodies);
        tokio::select! {
            () = self.serve_inbox(opened.inbox) => {}
            // In a task of its own: there may be much of it.
            _ = AbortOnDropHandle::new(tokio::spawn(bodies)) => {}
        }
    }

    async fn serve_inbox(self, mut messages: Subscription) {
        let mut expire = tokio::time::interval(EXPIRE);
        expire.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                now = expire.tick(), if !self.handled.is_empty() => {
                    self.handled.expire(now.into_std());
                    continue;
                }
            };
            let Some(message) = message else { return };
            let counters = &self.router.shared.counters;
            match self.router.shared.subjects.parse_inbox(&message.subject) {
                Ok(Inbox::Call) => match Calls::decode(message.payload) {
                    Ok(calls) => {
                        let peer = self.peers.get(&calls.origin);
                        for (number, call) in calls.read() {
                            self.call(&peer, number, call);
                        }
                    }
                    Err(error) => {
                        counters.malformed_envelopes();
                        self.reject(message.reply, error.to_string()).await;
                    }
                },
                Ok(Inbox::Reply) => match Replies::decode(message.payload) {
                    Ok(replies) => self.peers.deliver(replies),
                    Err(_) => counters.malformed_envelopes(),
                },
                // Whatever else arrives there says nothing of what ran.
                Ok(Inbox::Refused(refused)) => match message.no_responders {
                    true => self.peers.refused(&refused),
                    false => counters.malformed_envelopes(),
                },
                Ok(Inbox::Cancel) => match Cancel::decode(message.payload) {
                    Ok(Cancel { origin, numbers }) => self.handled.cancel(&origin, &numbers),
                    Err(_) => counters.malformed_envelopes(),
                },
                Ok(Inbox::Ping) => {
                    if let Some(reply) = message.reply {
                        self.router.shared.bus.publish(reply, Bytes::new()).await;
                    }
                }
                Ok(Inbox::Suspect) => {
                    let told = Suspicion::decode(message.payload);
                    self.tell(told.map(|suspicion| Told::Suspect(suspicion.incarnation)));
                }
                Ok(Inbox::Load) => self.tell(LoadReport::decode(message.payload).map(Told::Load)),
                Ok(Inbox::Wake) => self.tell(Wake::decode(message.payload).map(Told::Wake)),
                Err(error) => {
                    counters.malformed_subjects();
                    self.reject(message.reply, error.to_string()).await;
                }
            }
        }
    }

    fn tell(&self, told: Result<Told, Malformed>) {
        match told {
            // A full channel means that the leader is busy with earlier news, and all of it is said again.
            Ok(told) => drop(self.told.try_send(told)),
            Err(_) => self.router.shared.counters.malformed_envelopes(),
        }
    }

    /// Answers what is no envelope, where somebody waits for an answer.
    async fn reject(&self, reply: Option<ReplyTo>, problem: String) {
        if let Some(reply) = reply {
            let rejected = Reply { number: 0, outcome: Err(Fault::Malformed(problem)), load: 0, kept: false };
            let frame = Replies::encode(&self.router.shared.incarnation, &[rejected.encode()]);
            self.router.shared.bus.publish(reply, frame).await;
        }
    }

    /// Admits before it accepts: nothing here waits for a guest.
    fn call(&self, peer: &Arc<Peer>, number: u64, call: Result<Call, Malformed>) {
        if let Err(fault) = self.admit(peer, number, call) {
            peer.post.reply(Reply { number, outcome: Err(fault), load: 0, kept: false }.encode());
        }
    }

    /// Hands a call to a mailbox; an error when it could not even be offered to one.
    fn admit(&self, peer: &Arc<Peer>, number: u64, call: Result<Call, Malformed>) -> Result<(), Fault> {
        let shared = &self.router.shared;
        let call = call.map_err(|error| {
            shared.counters.malformed_envelopes();
            Fault::Malformed(error.to_string())
        })?;
        let deadline = self.deadline(&call).ok_or_else(|| {
            shared.counters.expired();
            Fault::Deadline(Ran::No)
        })?;
        // Whoever asks may be somebody's successor by now.
        let now_ms = u64::try_from(shared.clock.now_ms()).unwrap_or(u64::MAX);
        if call.not_after_ms.is_some_and(|not_after| not_after <= now_ms) {
            shared.counters.expired();
            return Err(Fault::Cancelled(Ran::No));
        }
        let local = shared.local.on(&call.target.name, call.side);
        let local = local.ok_or_else(|| self.router.not_here(&call.target))?;
        check_key(&call.target, &call.chain, local.keys().is_some())?;
        let room = self.router.room(&call.target, call.payload.len())?;
        let mut request = None;
        let mut payload = call.payload;
        let cause = if call.aim == Aim::Http {
            let (exchange, answer) = serving::open(&peer.bodies, std::mem::take(&mut payload))?;
            request = Some(answer);
            Cause::Http(Arc::new(exchange))
        } else {
            match self.router.cause(&call.aim, &local, &call.target) {
                Ok(cause) => cause,
                Err(outcome) => {
                    peer.post.reply(Reply { number, outcome, load: 0, kept: false }.encode());
                    return Ok(());
                }
            }
        };
        let message = Message {
            operation: call.operation,
            payload,
            content_type: call.content_type,
            caller: call.caller.map(|caller| caller.shared()),
            attempt: call.attempt,
            cause,
        };
        let unanswered = self.peers.tasks().token();
        let answering = self.handled.answering(peer, number, local.clone(), (room, unanswered));
        let reply = {
            let answering = answering.clone();
            let is_http = request.is_some();
            Respond::Hand(Box::new(move |answer, kept| {
                // What was answered to a request went before, when its head was there.
                if answer.is_err() || !is_http {
                    answering.answer(answer, kept);
                }
            }))
        };
        let turn = self.router.turn(
            &local,
            call.id,
            &call.target,
            call.chain,
            deadline,
            message,
            Turned::Call(call.trace.map(Scope::from)),
            reply,
        )?;
        if !self.handled.insert(answering.clone(), turn.context.clone()) {
            answering.disown();
            return Err(Fault::Malformed("another call with this number is being handled".to_owned()));
        }
        shared.counters.calls_received();
        // A refusal has been answered by way of the turn.
        if self.router.admit(&local, turn).is_ok()
            && let Some(request) = request
        {
            request.answer_by(answering);
        }
        Ok(())
    }

    /// When the caller stops waiting, by the nearer of its two ways to say so; none when that has passed.
    fn deadline(&self, call: &Call) -> Option<Instant> {
        let now_ms = u64::try_from(self.router.shared.clock.now_ms()).unwrap_or(0);
        let by_server = Duration::from_millis(call.deadline_ms.saturating_sub(now_ms));
        // The caller's own number is bounded, since an `Instant` cannot hold every one.
        let remaining = call.remaining.min(by_server).min(Duration::from_secs(86_400));
        (!remaining.is_zero()).then(|| Instant::now() + remaining)
    }
}

/// Hands over what comes of bodies until the subscription ends.
async fn bodies(peers: Peers, counters: Counters, mut frames: Subscription) {
    while let Some(message) = frames.next().await {
        match Frame::decode(message.payload) {
            Ok(frame) => peers.frame(frame).await,
            Err(_) => counters.malformed_envelopes(),
        }
    }
}
