//! What becomes of an activation before it serves: it waits for a place, and claims the key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lattice_proto::envelope::Overwrite;
use lattice_proto::{ActorId, Fault};
use tokio::sync::{mpsc, watch};

use super::life::Awake;
use super::{Activity, Parts};
use crate::engine::{Asleep, KeyedInstance, Unwoken};
use crate::keyed::store::{Claimed, Unclaimed};
use crate::keyed::{Begin, Tenure};
use crate::replica::{Cause, Turn};

/// The task of an activation, and what it shares with its handle.
pub(super) struct Life {
    pub parts: Parts,
    pub turns: mpsc::Receiver<Turn>,
    /// Whether it is claimed, and has no letters left to post.
    pub posted: watch::Sender<bool>,
    pub current: Activity,
    pub placed: Arc<AtomicBool>,
    /// When its first message came.
    pub began: Instant,
}

/// A key that is this activation's.
pub(super) struct Claim {
    pub claimed: Claimed,
    /// The number of the claim, by its tenure.
    pub confirmed: u64,
    /// A guest that was made meanwhile; none where there was no room for it.
    pub guest: Option<Ready>,
    /// What an operator says the state is.
    pub overwrite: Option<Turn>,
}

/// A guest that was made beside the claim.
pub(super) enum Ready {
    /// It knows nothing of the key.
    Made(Unwoken),
    /// It was woken with the state that was then claimed; or why it does not wake.
    Awake(Result<KeyedInstance, Asleep>),
}

impl Life {
    /// From the first message to sleep.
    pub async fn live(mut self) {
        for one in std::mem::take(&mut self.parts.earlier) {
            one.close();
            one.ended().await;
        }
        let Some(strict) = self.parts.home.settings.kind.keyed().map(|keyed| keyed.strict) else { return };
        let shared = self.parts.keyed.clone();
        let Some(_place) = shared.place(&self.current).await else {
            let actor = &self.parts.actor;
            let fault = Fault::Overloaded(format!(
                "{actor} (its node has as many keys awake as its `activations` say, all of them busy)"
            ));
            return refuse_all(&mut self.turns, || fault.clone());
        };
        self.placed.store(true, Ordering::Relaxed);
        let tenure = Tenure::new(shared.owners, self.parts.shard, self.parts.epoch, strict);
        if let Some(claim) = self.claim(&tenure).await {
            Awake::new(self, tenure, claim).live().await;
        }
    }

    /// Claims the key; none when that cannot be, and all that waits was refused.
    async fn claim(&mut self, tenure: &Tenure) -> Option<Claim> {
        // What is known before the claim: should the lease run out meanwhile, the key is claimed once more.
        let confirmed = tenure.clear().await;
        let Parts { actor, shard, epoch, compiled, home, keyed, .. } = &self.parts;
        let limit = home.settings.kind.keyed().map_or(0, |keyed| keyed.state.0);
        let left = keyed.store.recall(*shard, actor, *epoch);
        let state = left.as_ref().map(|left| left.record.state.clone());
        // A guest is made while the store is asked, and woken where it is known with what. Where there is no room for it, room is
        // made only once the key is claimed.
        let guest = async {
            match (compiled.unwoken(home, actor).await, &state) {
                (Ok(guest), Some(state)) => Ready::Awake(guest.wake(state.clone(), limit).await),
                (Ok(guest), None) => Ready::Made(guest),
                (Err(asleep), _) => Ready::Awake(Err(asleep)),
            }
        };
        let claim = keyed.store.claim(*shard, actor, *epoch, left);
        let (claimed, guest) = both(claim, guest).await;
        match claimed {
            Ok(claimed) => {
                let is_of_use = |guest: &Ready| match guest {
                    Ready::Made(_) | Ready::Awake(Err(Asleep::Broken(_))) => true,
                    Ready::Awake(Err(Asleep::NoRoom(_))) => false,
                    Ready::Awake(_) => state.as_ref().is_some_and(|state| *state == claimed.record().state),
                };
                let guest = guest.filter(is_of_use);
                Some(Claim { claimed, confirmed, guest, overwrite: None })
            }
            Err(Unclaimed::Damaged { reason, revision }) => {
                let (claimed, overwrite) = self.claim_over(tenure, confirmed, &reason, revision).await?;
                Some(Claim { claimed, confirmed, guest: None, overwrite: Some(overwrite) })
            }
            Err(Unclaimed::Newer(version)) => {
                tracing::error!(%actor, version, "a key is not served: a later version of Lattice wrote its record");
                let fault = Fault::NoReplica(format!(
                    "`{actor}` is not served by this node: its record is of version {version}, which is later than this node \
                     understands; update the node"
                ));
                refuse_all(&mut self.turns, || fault.clone());
                None
            }
            Err(Unclaimed::Taken | Unclaimed::Bus(_)) => {
                refuse_all(&mut self.turns, || not_here(actor));
                None
            }
        }
    }

    /// Claims a key whose record cannot be read, if an operator says what it is to be.
    async fn claim_over(
        &mut self,
        tenure: &Tenure,
        confirmed: u64,
        reason: &str,
        revision: u64,
    ) -> Option<(Claimed, Turn)> {
        let Parts { actor, shard, epoch, home, keyed, .. } = &self.parts;
        tracing::error!(%actor, reason, "a key is not served, because its record cannot be read");
        home.events.damaged(actor, revision, reason);
        // None of what waits has run.
        let fault = Fault::NoReplica(format!(
            "`{actor}` is not served, because its record in the store cannot be read: {reason}; it is left as it is until \
             `lattice state put` or `lattice state delete` replaces it"
        ));
        // One that names a revision has seen another record.
        let any = |overwrite: &Overwrite| overwrite.if_revision.is_none();
        let Some(overwrite) = refuse_until_overwritten(&mut self.turns, any, || fault.clone()) else {
            refuse_all(&mut self.turns, || fault.clone());
            return None;
        };
        // What cannot be read cannot tell of a later owner, so this one must be sure of itself.
        let begins = tenure.begin(confirmed, overwrite.context.deadline).await;
        let over = Some((revision, keyed.letters.now_ms()));
        if begins == Begin::Now
            && let Ok(claimed) = keyed.store.claim_over(*shard, actor, *epoch, None, over).await
        {
            return Some((claimed, overwrite));
        }
        overwrite.waiting.answer(Err(not_here(actor)));
        refuse_all(&mut self.turns, || not_here(actor));
        None
    }
}

/// What comes of a claim, and of what is done meanwhile, which is of no use without it.
async fn both<C, E, G>(
    claim: impl Future<Output = Result<C, E>>,
    make: impl Future<Output = G>,
) -> (Result<C, E>, Option<G>) {
    tokio::pin!(claim, make);
    tokio::select! {
        biased;
        claimed = &mut claim => match claimed {
            Ok(claimed) => (Ok(claimed), Some(make.await)),
            Err(unclaimed) => (Err(unclaimed), None),
        },
        made = &mut make => (claim.await, Some(made)),
    }
}

/// The key belongs to another node.
pub(super) fn not_here(actor: &ActorId) -> Fault {
    Fault::NotHere { actor: actor.to_string(), revision: 0 }
}

/// Refuses what waits, up to what an operator says the state of the key is.
pub(super) fn refuse_until_overwritten(
    turns: &mut mpsc::Receiver<Turn>,
    suits: impl Fn(&Overwrite) -> bool,
    fault: impl Fn() -> Fault,
) -> Option<Turn> {
    while let Ok(turn) = turns.try_recv() {
        match &turn.message.cause {
            Cause::Overwrite(overwrite) if suits(overwrite) => return Some(turn),
            _ => turn.waiting.answer(Err(fault())),
        }
    }
    None
}

/// Nothing is served any more.
pub(super) fn refuse_all(turns: &mut mpsc::Receiver<Turn>, fault: impl Fn() -> Fault) {
    turns.close();
    while let Ok(turn) = turns.try_recv() {
        turn.waiting.answer(Err(fault()));
    }
}
