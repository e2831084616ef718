//! What there is to tell, one function for each thing, so that whoever saw it says so in one line.

use lattice_proto::event::{Event, Kind};
use lattice_proto::record::{NodeState, Origin};
use lattice_proto::{ActorId, ActorName, AppName, Digest, NodeName};

use super::Events;

impl Events {
    /// A node leads the lattice.
    pub fn leads(&self, node: &NodeName, term: u64) {
        let text = format!("leads the lattice, in term {term}");
        self.tell(self.event(Kind::LeaderElected, node, &text), Some(&term.to_string()));
    }

    /// Something became of a node; `once` tells this change of it from others, where two may tell of the same.
    pub fn node(&self, kind: Kind, node: &NodeName, once: Option<&str>, text: &str) {
        self.tell(self.event(kind, node, text), once);
    }

    /// A revision was stored.
    pub fn declared(&self, app: &AppName, revision: u64, origin: &Origin, changes: &[String]) {
        let (kind, text) = match origin {
            Origin::Apply | Origin::Scale | Origin::Promote => (Kind::AppDeclared, changes.join("; ")),
            Origin::Abort => (Kind::RolledBack, format!("the trial was ended: {}", changes.join("; "))),
            Origin::Delete => (Kind::AppDeleted, "deleted".to_owned()),
            Origin::Rollback { from, to, reason } => {
                let by_itself = if reason.is_some() { ", by itself" } else { "" };
                (Kind::RolledBack, format!("to what revision {to} says, from revision {from}{by_itself}"))
            }
        };
        self.tell_revision(kind, app, revision, &text);
    }

    /// Everything of a revision runs as declared.
    pub fn met(&self, app: &AppName, revision: u64) {
        self.tell_revision(Kind::AppMet, app, revision, "everything runs as declared");
    }

    /// A revision failed. Why it is not taken back, where it is not.
    pub fn update_failed(&self, app: &AppName, revision: u64, reason: &str, stays: Option<&str>) {
        let stays = stays.map(|why| format!("; it is not taken back: {why}")).unwrap_or_default();
        self.tell_revision(Kind::UpdateFailed, app, revision, &format!("{reason}{stays}"));
    }

    fn tell_revision(&self, kind: Kind, app: &AppName, revision: u64, text: &str) {
        let event = Event { revision: Some(revision), ..self.event(kind, app, text) };
        self.tell(event, Some(&revision.to_string()));
    }

    /// Something keeps an actor from its spec, or nothing does any more. `over` is the revision of its route before.
    pub fn actor(&self, actor: &ActorName, revision: u64, problems: &[String], over: u64) {
        let (kind, text) = match problems {
            [] => (Kind::ActorRecovered, "nothing keeps it from its spec any more".to_owned()),
            _ => (Kind::ActorDegraded, problems.join("; ")),
        };
        let event = Event { revision: Some(revision), ..self.event(kind, actor, &text) };
        self.tell(event, Some(&format!("{revision}.{over}")));
    }

    /// The record of a key cannot be read. `revision` is where it lies in the store: each damage is told once.
    pub fn damaged(&self, key: &ActorId, revision: u64, why: &str) {
        let text = format!("the record of `{key}` cannot be read, so it is not served: {why}");
        let once = format!("{}.{revision}", Digest::of(key.to_string().as_bytes()));
        self.tell(self.event(Kind::KeyDamaged, &key.name, &text), Some(&once));
    }

    /// An operator overwrote or deleted what a key keeps.
    pub fn overwritten(&self, key: &ActorId, what: &str) {
        self.tell(self.event(Kind::StateOverwritten, &key.name, &format!("`{key}`: {what}")), None);
    }

    /// Somebody watches the messages of an actor, or does not any more. False where it cannot be told now.
    pub fn tapped(&self, actor: &ActorName, what: &str) -> bool {
        self.tell(self.event(Kind::ActorTapped, actor, what), None)
    }

    /// The lattice itself changed the number of replicas of an actor.
    pub fn scaled(&self, actor: &ActorName, from: u32, to: u32, why: &str) {
        self.tell(self.event(Kind::Scaled, actor, &format!("{from} -> {to} replicas: {why}")), None);
    }
}

/// What a change of a node's state is, and what is to be said of it; `stops` where the node itself said that it ends.
pub fn node_change(before: Option<NodeState>, now: NodeState, stops: bool) -> (Kind, &'static str) {
    use NodeState::{Cordoned, Draining, Gone, Ready, Suspect};
    match (before, now) {
        (_, Gone) if stops => (Kind::NodeLeft, "stopped"),
        (_, Gone) => (Kind::NodeLost, "is lost"),
        (_, Suspect) => (Kind::NodeSuspect, "does not answer"),
        (Some(Gone), _) => (Kind::NodeJoined, "is back"),
        (None, Cordoned) => (Kind::NodeJoined, "is in the lattice, cordoned"),
        (None, Draining) => (Kind::NodeJoined, "is in the lattice, to be emptied"),
        (None, Ready) => (Kind::NodeJoined, "is in the lattice"),
        (Some(Suspect), _) => (Kind::NodeRecovered, "answers again"),
        (Some(_), Draining) if stops => (Kind::NodeDraining, "stops; what it runs moves elsewhere"),
        (Some(_), Draining) => (Kind::NodeDraining, "is to be emptied"),
        (Some(_), Cordoned) => (Kind::NodeCordoned, "takes nothing new"),
        (Some(_), Ready) => (Kind::NodeUncordoned, "takes replicas again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_node_has_a_kind_that_says_what_it_is() {
        use NodeState::{Cordoned, Draining, Gone, Ready, Suspect};
        for (before, now, stops, kind) in [
            (None, Ready, false, "node-joined"),
            (None, Cordoned, false, "node-joined"),
            (Some(Ready), Cordoned, false, "node-cordoned"),
            (Some(Cordoned), Draining, false, "node-draining"),
            (Some(Draining), Ready, false, "node-uncordoned"),
            (Some(Ready), Suspect, false, "node-suspect"),
            (Some(Suspect), Cordoned, false, "node-recovered"),
            (Some(Suspect), Gone, false, "node-lost"),
            (Some(Draining), Gone, true, "node-left"),
            (None, Gone, false, "node-lost"),
            (Some(Gone), Ready, false, "node-joined"),
        ] {
            assert_eq!(node_change(before, now, stops).0.as_str(), kind, "{before:?} -> {now:?}");
        }
    }
}
