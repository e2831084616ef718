//! Who owns the shards of keyed actors: planned with everything else, and written when it changes.
//!
//! All keyed actors of a lattice share its shards, so a node may own some if it fits every one of them.

use std::collections::BTreeMap;

use lattice_proto::NodeName;
use lattice_proto::manifest::{Kind, Placement};
use lattice_proto::record::{self, NodeState, Owned, Owner, Shards};
use lattice_proto::shard::SHARDS;
use lattice_proto::subject::Control;

use super::Office;
use super::entry::Decision;
use crate::bus::{Error, Guard};
use crate::controller::reconcile::Seen;
use crate::placement::fits;
use crate::placement::shards::{Candidate, plan};

impl Office<'_> {
    /// Writes who owns what from now on, where that is not what is stored.
    pub(super) async fn write_shards(&mut self, seen: &BTreeMap<NodeName, Seen>) -> Result<(), Error> {
        let placements = self.keyed_placements();
        if placements.is_empty() {
            return Ok(());
        }
        let key = self.subjects.control(&Control::Shards);
        let stored = match self.decisions.get(&key).map(|stored| &stored.value) {
            Some(Decision::Shards(shards)) => shards.clone(),
            _ => Shards { shards: vec![Owned::default(); usize::from(SHARDS)], ..Shards::default() },
        };
        // The echo of what was written last may not have come yet.
        let known = match &self.shards {
            Some(written) if written.term == self.term => written.clone(),
            _ => stored,
        };
        let candidates = candidates(seen, &placements);
        let released = |owner: &Owner, shard| {
            let seen = seen.get(&owner.name).filter(|seen| seen.record.incarnation == owner.incarnation)?;
            seen.record.released.get(&shard).copied()
        };
        let next = Shards { term: self.term, ..plan(&known, &candidates, released) };
        if next.owners == known.owners && next.shards == known.shards {
            return Ok(());
        }
        let term = self.subjects.control(&Control::Term);
        let guard = Guard { key: &term, revision: self.term_revision };
        self.context.bus.decisions.put_guarded(&guard, &key, record::encode(&next)).await?;
        self.shards = Some(next);
        Ok(())
    }

    /// Where the keyed actors that are declared may be.
    fn keyed_placements(&self) -> Vec<Placement> {
        let Some(catalog) = self.catalog() else { return Vec::new() };
        let apps = self.decisions.entries().values().filter_map(|entry| match &entry.value {
            Decision::App(app) => Some(app),
            _ => None,
        });
        let current = apps.filter(|app| {
            catalog.apps.get(&app.app).is_some_and(|head| !head.deleted && head.revision == app.revision)
        });
        let actors = current.flat_map(|app| app.actors.values());
        let keyed = actors.filter(|actor| matches!(actor.settings.kind, Kind::Keyed(_)));
        keyed.map(|actor| actor.settings.placement.clone()).collect()
    }
}

fn candidates(seen: &BTreeMap<NodeName, Seen>, placements: &[Placement]) -> BTreeMap<NodeName, Candidate> {
    let alive = seen.iter().filter(|(_, seen)| seen.state != NodeState::Gone);
    let candidate = |(name, seen): (&NodeName, &Seen)| {
        let record = &seen.record;
        let fits = placements.iter().all(|placement| fits(placement, &record.labels));
        let keeps = fits && seen.state != NodeState::Draining;
        let open = keeps && seen.state == NodeState::Ready;
        let owner = Owner { name: name.clone(), incarnation: record.incarnation.clone() };
        (name.clone(), Candidate { owner, weight: record.cpus, open, keeps })
    };
    alive.map(candidate).collect()
}
