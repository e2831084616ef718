//! The way to whoever leads: messages that may be lost, and are said again by whoever needs them to arrive.

use bytes::Bytes;
use lattice_proto::Incarnation;
use lattice_proto::subject::{Inbox, Subjects};
use tokio::sync::watch;

use super::Leader;
use crate::bus::Connection;

/// A cheap handle on the way to the leader.
#[derive(Clone)]
pub struct ToLeader {
    bus: Connection,
    subjects: Subjects,
    leader: watch::Receiver<Option<Leader>>,
}

impl ToLeader {
    /// To whoever leads at the moment.
    pub fn new(bus: Connection, subjects: Subjects, leader: watch::Receiver<Option<Leader>>) -> Self {
        Self { bus, subjects, leader }
    }

    /// Whether this node leads.
    pub fn is(&self, node: &Incarnation) -> bool {
        self.leader.borrow().as_ref().is_some_and(|leader| leader.lease.incarnation == *node)
    }

    /// Tells it something; nothing happens while nobody leads.
    pub async fn tell(&self, inbox: &Inbox, message: Bytes) {
        let leader = self.leader.borrow().as_ref().map(|leader| leader.lease.incarnation.clone());
        if let Some(leader) = leader {
            self.bus.publish(self.subjects.inbox(&leader, inbox), message).await;
        }
    }
}
