//! Where an actor is and why, from what is stored: any node can say it.

use std::collections::BTreeMap;

use lattice_proto::record::{Assignment, NodeState};
use lattice_proto::subject::Control;
use lattice_proto::{ActorName, AppName};

use super::observe::{self, NodeView, Observer};
use super::reconcile::{offer, wanted};
use crate::bus::Error;
use crate::placement::{Demand, Explanation, Planner, Seat};

/// The placement of one actor, explained.
#[derive(Debug, Clone)]
pub struct Explained {
    /// Whose it is.
    pub app: AppName,
    /// The current revision of the app.
    pub revision: u64,
    /// Every node.
    pub explanation: Explanation,
    /// The nodes as they are.
    pub nodes: Vec<NodeView>,
}

impl Observer {
    /// Why here, why not there; none when no such actor is deployed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn explain(&self, actor: &ActorName) -> Result<Option<Explained>, Error> {
        let (nodes, listing) = tokio::try_join!(self.nodes(), self.control())?;
        let mut planner = Planner::default();
        for view in nodes.iter().filter(|view| view.state != NodeState::Gone) {
            planner.set_node(&view.record.name, offer(&view.record, view.state));
        }
        // How many a scaled one is to have is not stored as such, but is what was placed.
        let mut placed: BTreeMap<ActorName, u32> = BTreeMap::new();
        let mut seats = Vec::new();
        for entry in &listing.entries {
            if let Ok(Control::Assign(node)) = self.subjects().parse_control(&entry.key) {
                let assignment: Assignment = observe::decode(entry)?;
                for (actor, assigned) in assignment.actors {
                    *placed.entry(actor.clone()).or_default() += assigned.placed;
                    let seat = Seat { replicas: assigned.placed, why: assigned.reason.as_str().into() };
                    seats.push((actor, node.clone(), seat));
                }
            }
        }
        let mut found = None;
        for app in listing.apps(self.subjects())? {
            for (name, spec) in &app.actors {
                let scale = placed.get(name).copied().unwrap_or(0);
                planner.set_actor(name, Demand::of(&spec.settings, wanted(spec, scale)), "declared");
                if name == actor {
                    found = Some((app.app.clone(), app.revision));
                }
            }
        }
        for (actor, node, seat) in seats {
            planner.set_seat(&actor, &node, seat);
        }
        // The leader decides; what it has not decided yet is shown as it is about to.
        planner.settle();
        let explanation = planner.explain(actor);
        Ok(found.zip(explanation).map(|((app, revision), explanation)| Explained {
            app,
            revision,
            explanation,
            nodes,
        }))
    }
}
