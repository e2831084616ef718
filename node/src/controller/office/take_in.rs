//! Keeping up: what changed of leases, declarations and routes, and when what is stored may not be what was meant.

use std::time::Instant;

use lattice_proto::ActorName;
use lattice_proto::record::{self, Lease};

use super::Office;
use super::entry::Decision;
use crate::bus::Change;

impl Office<'_> {
    /// Takes in a change of the leases.
    pub(super) fn lease(&mut self, change: Change) -> bool {
        match change {
            Change::Reset => {
                self.liveness.begin_listing();
                false
            }
            Change::Current => {
                self.liveness.end_listing();
                self.leases_complete = true;
                true
            }
            Change::Put(entry) => {
                let name = entry.key.strip_prefix("node.").and_then(|name| name.parse().ok());
                let Some(name) = name else { return false };
                self.chronicle.lease(&name, &entry);
                match entry.value.as_deref().and_then(|bytes| record::decode::<Lease>(bytes).ok()) {
                    Some(lease) => {
                        // It was back before this node led.
                        let deposed = self.deposed.take();
                        self.deposed = deposed.filter(|deposed| {
                            deposed.incarnation != lease.incarnation || deposed.revision > entry.revision
                        });
                        self.liveness.renewed(&lease, Instant::now());
                    }
                    None => self.liveness.ended(&name),
                }
                // Renewals come all the time, and what they change is looked at with the clock.
                false
            }
        }
    }

    /// Takes in a change of what is declared or decided.
    pub(super) fn decision(&mut self, change: Change) -> bool {
        let key = match &change {
            Change::Put(entry) => Some(entry.key.clone()),
            // What is read once more may be something else altogether.
            Change::Reset | Change::Current => None,
        };
        let changed = self.decisions.apply(change);
        match key {
            None => self.doubt(),
            Some(key) => {
                let stored = self.decisions.get(&key).map(|entry| &entry.value);
                if let (Some(reconciler), Some(Decision::Assignment(node, assignment))) =
                    (&mut self.reconciler, stored)
                {
                    reconciler.saw_assignment(node, assignment);
                }
            }
        }
        changed
    }

    /// Takes in a change of a route.
    pub(super) fn route(&mut self, change: Change) -> bool {
        let key = match &change {
            Change::Put(entry) => entry.key.parse::<ActorName>().ok(),
            Change::Reset | Change::Current => None,
        };
        let changed = self.routes.apply(change);
        let Some(actor) = key else {
            self.doubt();
            return changed;
        };
        let stored = self.routes.get(actor.as_str());
        let awaited = self.written.get(&actor).copied();
        if let Some(awaited) = awaited {
            // Of several writes on their way only the last one counts.
            if stored.is_none_or(|stored| stored.revision < awaited) {
                return changed;
            }
            self.written.remove(&actor);
        }
        let route = stored.map(|stored| stored.value.clone());
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.set_route(&actor, route);
        }
        changed
    }

    /// What is stored may not be what was meant: the next plan begins with what is stored.
    pub(super) fn doubt(&mut self) {
        if let Some(reconciler) = self.reconciler.take() {
            self.earlier = Some(reconciler);
        }
        self.written.clear();
    }
}
