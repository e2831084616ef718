//! Where the next attempt of a call goes, and when there is no next one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lattice_proto::envelope::{MAX_CHAIN, Side};
use lattice_proto::record::Route;
use lattice_proto::{Fault, Incarnation, MessageId, Ran};

use super::attempt::{Attempt, Tried, Try};
use super::choice::{self, Choice};
use super::hold::ASK;
use super::keyed::check_key;
use super::table::Known;
use super::{Ask, Router};
use crate::replica::{LocalActor, draw};
use crate::telemetry::Span;

/// Attempts that may follow the first. Enough to get past a full replica, a lost node and a stale route in one call.
pub(super) const RETRIES: u32 = 8;

/// The pause before a route is looked at again after the node that it names did not have the actor.
const STALE_ROUTE: Duration = Duration::from_millis(20);

/// How long a fresh look at a route may take when none of the nodes that it names is there any more.
const LAST_LOOK: Duration = Duration::from_millis(50);

/// How often a call that is held asks for the route itself, in rounds of [`ASK`]: what was announced may be lost.
const DOUBT: u32 = 5;

/// What a call has been through so far.
pub(super) struct Search {
    /// Grows with each try, so that no two tries of one message are taken for the same.
    attempt: u32,
    /// Tries since the route was last new.
    spent: u32,
    /// Nodes that this call has been to, since the route was last new.
    tried: Vec<Incarnation>,
    /// Whether one of them no longer had the actor.
    moved: bool,
    /// Whether one of the tries may have run.
    maybe: bool,
    /// Whether one of them is gone, which may be news to this node's table.
    gone: bool,
    /// Which versions the call is for, once that was drawn: by weight first, wherever they are.
    side: Option<Side>,
    last: Option<Fault>,
    /// Why the last node was chosen.
    choice: Choice,
}

impl Search {
    /// The last fault, if it says that there was too much to do.
    pub(super) fn overloaded(&self) -> Option<Fault> {
        self.last.clone().filter(|fault| matches!(fault, Fault::Overloaded(_)))
    }

    /// The last fault, if it says why nobody serves.
    pub(super) fn nobody(&self) -> Option<Fault> {
        self.last.clone().filter(|fault| matches!(fault, Fault::NoReplica(_)))
    }

    /// Whether the call was not at this node yet; it has been then.
    pub(super) fn visit(&mut self, node: &Incarnation) -> bool {
        let is_new = !self.tried.contains(node);
        if is_new {
            self.tried.push(node.clone());
        }
        is_new
    }

    /// Routes have changed: all may be tried again.
    pub(super) fn begin_anew(&mut self) {
        self.moved = false;
        self.spent = 1;
        self.tried.clear();
    }

    /// The best of the nodes that a route names and that were not tried yet, within the budget.
    fn pick(&mut self, known: &Known, zone: Option<&str>) -> Option<usize> {
        if self.side.is_none() {
            self.side = known.route.canary.as_ref().map(draw);
        }
        if self.spent > RETRIES + 1 {
            return None;
        }
        let (index, choice) =
            choice::pick(&known.candidates(zone, &self.tried, self.side.unwrap_or_default()))?;
        self.choice = choice;
        Some(index)
    }

    /// Where nobody is on the side that was drawn, the other one is better than none.
    fn widen(&mut self) -> bool {
        let narrow = self.side.is_some_and(|side| side != Side::Any);
        self.side = Some(Side::Any);
        narrow
    }

    /// A try ended without an answer. One that may have run outweighs every later one that surely did not.
    fn refused(&mut self, fault: Fault) {
        self.maybe |= fault.ran() != Ran::No;
        if !self.maybe || fault.ran() != Ran::No {
            self.last = Some(fault);
        }
    }

    /// What the caller is told: never that the message did not run when an earlier try may have.
    fn conclude(&mut self, fault: Fault) -> Fault {
        match (self.maybe && fault.ran() == Ran::No, self.last.take()) {
            (true, Some(earlier)) if earlier.ran() != Ran::No => earlier,
            (true, _) => Fault::Deadline(Ran::Maybe),
            (false, _) => fault,
        }
    }
}

pub(super) enum Found {
    Here(Arc<LocalActor>),
    There(Arc<Known>, usize),
}

impl Router {
    /// Tries until there is an answer, or nothing left to try.
    pub(super) async fn attempts<T: Try>(
        &self,
        what: &T,
        ask: &Ask,
        id: &MessageId,
        span: &mut Span,
    ) -> Result<T::Answer, Fault> {
        if ask.chain.len() >= MAX_CHAIN {
            return Err(Fault::Deadlock(format!("{} (after {MAX_CHAIN} calls in one chain)", ask.target)));
        }
        let mut search = Search {
            attempt: 0,
            spent: 0,
            tried: Vec::new(),
            moved: false,
            gone: false,
            maybe: false,
            side: None,
            last: None,
            choice: Choice::Here,
        };
        // What the last try says of itself says nothing of the earlier ones.
        self.rounds(what, ask, id, span, &mut search).await.map_err(|fault| search.conclude(fault))
    }

    async fn rounds<T: Try>(
        &self,
        what: &T,
        ask: &Ask,
        id: &MessageId,
        span: &mut Span,
        search: &mut Search,
    ) -> Result<T::Answer, Fault> {
        loop {
            search.attempt += 1;
            search.spent += 1;
            if search.attempt > 1 {
                self.shared.counters.retries();
            }
            let found = match (&ask.target.key, self.find_at_once(ask, search)) {
                (Some(key), _) => Box::pin(self.find_owner(ask, key, search)).await?,
                (None, Some(found)) => found,
                // Seldom, and large: it should not weigh on every call.
                (None, None) => Box::pin(self.find(ask, span, search)).await?,
            };
            let (target, choice) = match &found {
                Found::Here(_) => (None, Choice::Here),
                Found::There(known, index) => {
                    let choice = if ask.target.key.is_some() { Choice::Owner } else { search.choice };
                    (Some(known.targets[*index].peer.incarnation()), choice)
                }
            };
            let trace = span.tries(search.attempt, target, choice.as_str());
            let attempt =
                Attempt { id, number: search.attempt, side: search.side.unwrap_or_default(), trace };
            let tried = match found {
                Found::Here(local) => what.here(self, &local, ask, &attempt).await,
                Found::There(known, index) => {
                    search.visit(known.targets[index].peer.incarnation());
                    what.there(self, &known, index, ask, &attempt).await
                }
            };
            match tried {
                Tried::Done(outcome) => {
                    span.tried(outcome.as_ref().err());
                    return outcome;
                }
                Tried::Refused(fault) => {
                    span.tried(Some(&fault));
                    search.moved |= matches!(fault, Fault::NotHere { .. });
                    search.gone |= matches!(fault, Fault::NoReplica(_));
                    search.refused(fault);
                }
            }
            if Instant::now() >= ask.deadline {
                return Err(Fault::Deadline(Ran::No));
            }
        }
    }

    /// Where the next attempt goes, when that is known; a first look that waits for nothing.
    fn find_at_once(&self, ask: &Ask, search: &mut Search) -> Option<Found> {
        if ask.target.key.is_some() {
            return None;
        }
        let shared = &*self.shared;
        // This node first. It is tried once in a call, unless routes changed.
        if let Some(here) = self.find_here(ask, search) {
            return Some(here);
        }
        let known = shared.table.known(&ask.target.name)?;
        let index = search.pick(&known, shared.zone.as_deref())?;
        Some(Found::There(known, index))
    }

    /// Where the next attempt goes; an error when there is nowhere left.
    async fn find(&self, ask: &Ask, span: &Span, search: &mut Search) -> Result<Found, Fault> {
        let shared = &*self.shared;
        loop {
            let known = match tokio::time::timeout_at(ask.deadline.into(), shared.table.get(&ask.target.name))
                .await
            {
                Ok(Ok(Some(known))) => known,
                Ok(Ok(None)) => return Err(Fault::NoSuchActor(ask.target.name.to_string())),
                Ok(Err(reason)) => {
                    if search.widen()
                        && let Some(here) = self.find_here(ask, search)
                    {
                        return Ok(here);
                    }
                    let name = &ask.target.name;
                    return Err(Fault::NoReplica(format!("`{name}` does not run here, and {reason}")));
                }
                Err(_) => return Err(Fault::Deadline(Ran::No)),
            };
            check_key(&ask.target, &ask.chain, known.route.keyed)?;
            if let Some(index) = search.pick(&known, shared.zone.as_deref()) {
                return Ok(Found::There(known, index));
            }
            if search.widen() {
                match self.find_here(ask, search) {
                    Some(here) => return Ok(here),
                    None => continue,
                }
            }
            // A replica that is there and will not have it, now or at all, is nothing to wait for.
            let declined = matches!(search.last, Some(Fault::Overloaded(_) | Fault::NoSuchOperation(_)));
            if known.route.on_demand && !declined {
                {
                    let _held = span.step("hold");
                    self.hold(ask, &known).await?;
                }
                search.begin_anew();
                if let Some(here) = self.find_here(ask, search) {
                    return Ok(here);
                }
                continue;
            }
            // A route that names this node is out of date when nothing runs here.
            search.moved |= known.names_this_node && shared.local.get(&ask.target.name).is_none();
            // Every replica was tried. A node that no longer had it means that it moved: the route will say where to.
            if std::mem::take(&mut search.gone) && !search.moved {
                // One look at the route, and no more: when there is nobody the caller should know at once.
                shared.table.newer(&ask.target.name, known.revision, LAST_LOOK).await;
                if shared.table.revision(&ask.target.name) > known.revision {
                    search.tried.clear();
                }
                continue;
            }
            if !search.moved {
                return Err(search.last.take().unwrap_or_else(|| {
                    let name = &ask.target.name;
                    Fault::NoReplica(format!(
                        "`{name}` is deployed, and none of its replicas is running at the moment"
                    ))
                }));
            }
            let pause = STALE_ROUTE + Duration::from_millis(fastrand::u64(0..20));
            let newer = shared.table.newer(&ask.target.name, known.revision, pause);
            if tokio::time::timeout_at(ask.deadline.into(), newer).await.is_err() {
                return Err(Fault::Deadline(Ran::No));
            }
            search.begin_anew();
            if let Some(here) = self.find_here(ask, search) {
                return Ok(here);
            }
        }
    }

    /// This node, if it has the actor and was not tried yet.
    fn find_here(&self, ask: &Ask, search: &mut Search) -> Option<Found> {
        let local = self.shared.local.drawn(&ask.target.name, &mut search.side);
        // A keyed actor is found by its key only.
        let local = local.filter(|local| local.count() > 0 && local.keys().is_none())?;
        search.visit(&self.shared.incarnation).then_some(Found::Here(local))
    }

    /// Waits for a replica of what runs on demand: until the route is another one, or this node has it.
    async fn hold(&self, ask: &Ask, known: &Known) -> Result<(), Fault> {
        let (shared, actor) = (&*self.shared, &ask.target.name);
        let cannot = |route: &Route| {
            let problem = route.problems.first().filter(|_| route.desired > 0 && route.targets.is_empty())?;
            Some(Fault::NoReplica(format!("`{actor}` cannot run at the moment: {problem}")))
        };
        // Where some replicas have a place, one of them may be ready in a moment whatever keeps the others.
        if known.route.placed == 0
            && let Some(fault) = cannot(&known.route)
        {
            return Err(fault);
        }
        let Some(held) = shared.holding.enter(actor) else {
            shared.counters.overloaded();
            return Err(Fault::Overloaded(format!("{actor} (too many calls wait for its first replica)")));
        };
        for round in 1u32.. {
            if !shared.bus.is_up() {
                return Err(Fault::NoReplica(format!(
                    "none of `{actor}` runs here, and NATS cannot be reached to have one made"
                )));
            }
            let asked = async {
                held.ask().await;
                match round % DOUBT {
                    0 => shared.table.newer(actor, known.revision, ASK).await,
                    _ => shared.table.awaited(actor, known.revision, ASK).await,
                }
            };
            if tokio::time::timeout_at(ask.deadline.into(), asked).await.is_err() {
                let known = shared.table.known(actor);
                return Err(known.and_then(|known| cannot(&known.route)).unwrap_or(Fault::Deadline(Ran::No)));
            }
            let is_here = shared.local.get(actor).is_some_and(|local| local.count() > 0);
            if is_here || shared.table.revision(actor) != known.revision {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_that_may_have_run_outweighs_later_ones_that_did_not() {
        let mut search = Search {
            attempt: 2,
            spent: 2,
            tried: Vec::new(),
            moved: false,
            gone: false,
            maybe: false,
            side: None,
            last: None,
            choice: Choice::Here,
        };
        let no = || Fault::Overloaded("greeter".into());
        search.refused(no());
        assert_eq!(search.conclude(Fault::Deadline(Ran::No)), Fault::Deadline(Ran::No));
        search.refused(Fault::Unknown("lost".into()));
        search.refused(no());
        assert_eq!(search.conclude(Fault::Deadline(Ran::No)), Fault::Unknown("lost".into()));
        assert_eq!(search.conclude(no()), Fault::Deadline(Ran::Maybe));
        assert_eq!(search.conclude(Fault::Trapped("boom".into())), Fault::Trapped("boom".into()));
    }
}
