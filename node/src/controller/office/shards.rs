//! Who owns the shards of keyed actors: planned with everything else, and written when it changes.
//!
//! All keyed actors of a lattice share its shards, so a node may own some if it fits every one of them, and gets more when it
//! serves those that are served at all.

use std::collections::BTreeMap;

use lattice_proto::manifest::{Kind, Placement};
use lattice_proto::record::{self, NodeState, Owned, Owner, Shards};
use lattice_proto::shard::Shard;
use lattice_proto::subject::Control;
use lattice_proto::{ActorName, NodeName};

use super::Office;
use super::entry::Decision;
use crate::bus::{Error, Guard};
use crate::controller::reconcile::Seen;
use crate::membership::{holder, node_key};
use crate::placement::fits;
use crate::placement::shards::{Candidate, plan};
use crate::telemetry::metrics;

impl Office<'_> {
    /// Writes who owns what from now on, where that is not what is stored.
    pub(super) async fn write_shards(&mut self, seen: &BTreeMap<NodeName, Seen>) -> Result<(), Error> {
        let keyed = self.keyed_actors();
        if keyed.is_empty() {
            return Ok(());
        }
        let key = self.subjects.control(&Control::Shards);
        let stored = match self.decisions.get(&key).map(|stored| &stored.value) {
            Some(Decision::Shards(shards)) => shards.clone(),
            _ => {
                let count = usize::from(self.context.shards);
                Shards { shards: vec![Owned::default(); count], ..Shards::default() }
            }
        };
        // What this leader tried to write last may be stored, whether its echo has come or not, so it is built on: an epoch
        // is given out once.
        let known = self.shards.clone().unwrap_or(stored);
        let candidates = candidates(seen, &keyed);
        let released = |owner: &Owner, shard| {
            let seen = seen.get(&owner.name).filter(|seen| seen.record.incarnation == owner.incarnation)?;
            seen.record.released.get(&shard).copied()
        };
        let next = Shards { term: self.term, ..plan(&known, &candidates, released) };
        if next.owners == known.owners && next.shards == known.shards && !self.shards_unsure {
            return Ok(());
        }
        self.end_leases(&known, &next, &released).await?;
        (self.shards, self.shards_unsure) = (Some(next.clone()), true);
        let term = self.subjects.control(&Control::Term);
        let guard = Guard { key: &term, revision: self.term_revision };
        self.context.bus.decisions.put_guarded(&guard, &key, record::encode(&next)).await?;
        let moved = known.shards.iter().zip(&next.shards).filter(|(before, now)| before.epoch < now.epoch);
        metrics::shards_moved(moved.count() as u64);
        self.shards_unsure = false;
        Ok(())
    }

    /// Takes the leases of owners that own nothing any more although they let go of nothing: one that lives all the same
    /// finds its lease gone, and acts on nothing before it has looked who owns what.
    async fn end_leases(
        &self,
        known: &Shards,
        next: &Shards,
        released: &impl Fn(&Owner, Shard) -> Option<u64>,
    ) -> Result<(), Error> {
        let holds_on =
            |owner: &Owner| known.of(owner).any(|(shard, epoch)| released(owner, shard) != Some(epoch));
        for owner in known.owners.iter().filter(|owner| !next.owners.contains(owner) && holds_on(owner)) {
            let (leases, key) = (&self.context.bus.leases, node_key(&owner.name));
            let entry = leases.newest(&key).await?;
            let Some(entry) = entry.filter(|entry| {
                holder(Some(entry)).is_some_and(|lease| lease.incarnation == owner.incarnation)
            }) else {
                continue;
            };
            // Where it was renewed this very moment, all is looked at once more.
            leases.remove_if(&key, entry.revision).await?;
        }
        Ok(())
    }

    /// The keyed actors that are declared, and where they may be.
    fn keyed_actors(&self) -> Vec<(ActorName, Placement)> {
        let Some(catalog) = self.catalog() else { return Vec::new() };
        let apps = self.decisions.entries().values().filter_map(|entry| match &entry.value {
            Decision::App(app) => Some(app),
            _ => None,
        });
        let current = apps.filter(|app| {
            catalog.apps.get(&app.app).is_some_and(|head| !head.deleted && head.revision == app.revision)
        });
        let actors = current.flat_map(|app| &app.actors);
        let keyed = actors.filter(|(_, actor)| matches!(actor.settings.kind, Kind::Keyed(_)));
        keyed.map(|(name, actor)| (name.clone(), actor.settings.placement.clone())).collect()
    }
}

fn candidates(
    seen: &BTreeMap<NodeName, Seen>,
    keyed: &[(ActorName, Placement)],
) -> BTreeMap<NodeName, Candidate> {
    let alive = || seen.iter().filter(|(_, seen)| seen.state != NodeState::Gone);
    let serves = |seen: &Seen, actor: &ActorName| {
        seen.record.actors.get(actor).is_some_and(|running| running.ready() > 0)
    };
    // One that runs nowhere, as it is broken perhaps, must not keep the others from having owners.
    let running: Vec<&ActorName> = keyed
        .iter()
        .map(|(actor, _)| actor)
        .filter(|actor| alive().any(|(_, seen)| serves(seen, actor)))
        .collect();
    let candidate = |(name, seen): (&NodeName, &Seen)| {
        let record = &seen.record;
        let fits = keyed.iter().all(|(_, placement)| fits(placement, &record.labels));
        let keeps = fits && seen.state != NodeState::Draining;
        let serves = !running.is_empty() && running.iter().all(|actor| serves(seen, actor));
        let open = keeps && serves && seen.state == NodeState::Ready;
        let owner = Owner { name: name.clone(), incarnation: record.incarnation.clone() };
        (name.clone(), Candidate { owner, weight: record.cpus, open, keeps })
    };
    alive().map(candidate).collect()
}
