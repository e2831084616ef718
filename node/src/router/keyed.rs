//! Where a message for a key goes: to the owner of its shard, wherever that is at the moment.
//!
//! There is one place only, so whoever finds it changing waits for it to settle, within the deadline of the call.

use std::time::{Duration, Instant};

use lattice_proto::envelope::Hop;
use lattice_proto::{ActorId, Fault, Ran};

use super::search::{Found, Search};
use super::{Ask, Router};

/// How long a shard may be without an owner before callers are told so.
const UNOWNED: Duration = Duration::from_secs(1);

/// The longest pause before the table is looked at again although nothing was heard; with jitter.
const LOOK: Duration = Duration::from_millis(25);

/// Refuses what cannot be meant: a key for an actor without keys, none for one with keys, and a call that comes back to an
/// activation that waits for it.
pub(super) fn check_key(target: &ActorId, chain: &[Hop], is_keyed: bool) -> Result<(), Fault> {
    let name = &target.name;
    match (&target.key, is_keyed) {
        (None, true) => {
            let hint = format!("`{name}` is a keyed actor; call one of its keys, such as `{name}/some-key`");
            Err(Fault::Malformed(hint))
        }
        (Some(_), false) => {
            Err(Fault::Malformed(format!("`{name}` is no keyed actor, so it is called by its name alone")))
        }
        (Some(_), true) if chain.iter().any(|hop| hop.actor == *target) => {
            Err(Fault::Deadlock(format!("{target} (it waits for an answer of this very chain of calls)")))
        }
        _ => Ok(()),
    }
}

impl Router {
    /// Where the next attempt of a call to a key goes; an error when there is nobody, or no more time.
    pub(super) async fn find_owner(&self, ask: &Ask, key: &str, search: &mut Search) -> Result<Found, Fault> {
        let (shared, name) = (&*self.shared, &ask.target.name);
        if let Some(fault) = search.overloaded() {
            // Only its owner can have it.
            return Err(fault);
        }
        // Followed from the first time on that it is not as it should be; then it is looked at once more.
        let mut owners = None;
        let began = Instant::now();
        loop {
            if let Some(owners) = &mut owners {
                tokio::sync::watch::Receiver::borrow_and_update(owners);
            }
            let local = shared.local.get(name);
            if let Some(local) = &local {
                check_key(&ask.target, &ask.chain, local.keys().is_some())?;
            }
            let owner = shared.owners.shard(name, key).and_then(|shard| shared.owners.owner(shard));
            match (&owner, local) {
                (Some(owner), local) if shared.owners.is_me(owner) => {
                    if let Some(local) = local
                        && search.visit(&owner.incarnation)
                    {
                        return Ok(Found::Here(local));
                    }
                }
                (owner, _) => 'look: {
                    let known =
                        match tokio::time::timeout_at(ask.deadline.into(), shared.table.get(name)).await {
                            Ok(Ok(Some(known))) => known,
                            Ok(Ok(None)) => return Err(Fault::NoSuchActor(name.to_string())),
                            Ok(Err(reason)) => {
                                return Err(Fault::NoReplica(format!(
                                    "`{}` is not on this node, and {reason}",
                                    ask.target
                                )));
                            }
                            Err(_) => return Err(Fault::Deadline(Ran::No)),
                        };
                    check_key(&ask.target, &ask.chain, known.route.keyed)?;
                    // Right after a start, or the first declaration, nobody has said yet who owns what.
                    let Some(owner) = owner else {
                        if began.elapsed() < UNOWNED {
                            break 'look;
                        }
                        let problem =
                            known.route.problems.first().map_or("no node may own it", String::as_str);
                        return Err(Fault::NoReplica(format!(
                            "nobody owns `{}` at the moment: {problem}",
                            ask.target
                        )));
                    };
                    let there =
                        known.targets.iter().position(|to| *to.peer.incarnation() == owner.incarnation);
                    if let Some(index) = there
                        && search.visit(&owner.incarnation)
                    {
                        return Ok(Found::There(known, index));
                    }
                }
            }
            let Some(owners) = &mut owners else {
                owners = Some(shared.owners.follow());
                continue;
            };
            let look = LOOK.mul_f64(0.5 + fastrand::f64() / 2.0);
            let settled = tokio::time::timeout(look, owners.changed());
            if tokio::time::timeout_at(ask.deadline.into(), settled).await.is_err() {
                return Err(search.nobody().unwrap_or(Fault::Deadline(Ran::No)));
            }
            search.begin_anew();
        }
    }
}
