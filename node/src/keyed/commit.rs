//! The output gate of one activation: commits states in their order, and lets an answer go when the state that its turn
//! saw is committed.
//!
//! While one commit is on its way turns go on, and the next commit holds what all of them made: a hot key is not bound to
//! one round trip for each turn.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use lattice_proto::{ActorId, Fault};
use tokio::sync::{mpsc, watch};

use super::store::{Claimed, Lost};
use crate::engine::Ended;
use crate::replica::{Answer, TurnContext, Waiting};

/// An answer that is kept back.
struct Kept {
    /// How many states must be committed before it may go.
    needs: u64,
    waiting: Waiting,
    answer: Answer,
    context: Arc<TurnContext>,
}

/// Commits until no more turns come, or the key belongs to another owner. `committed` counts the states.
///
/// Everything that came has been answered when it returns.
pub(super) async fn run(
    actor: ActorId,
    mut claimed: Claimed,
    mut ended: mpsc::Receiver<Ended>,
    committed: watch::Sender<u64>,
) -> Result<(), Lost> {
    let mut made = 0;
    let mut kept: VecDeque<Kept> = VecDeque::new();
    let mut latest: Option<Bytes> = None;
    while let Some(first) = ended.recv().await {
        let mut next = Some(first);
        while let Some(done) = next.take() {
            let Ended { waiting, answer, state, context } = done;
            if let Some(state) = state {
                made += 1;
                latest = Some(state);
            }
            kept.push_back(Kept { needs: made, waiting, answer, context });
            next = ended.try_recv().ok();
        }
        if let Some(state) = latest.take()
            && let Err(lost) = claimed.commit(state).await
        {
            tracing::info!(%actor, ?lost, "another owner has this key; what was not committed is undone");
            let before = *committed.borrow();
            release(&mut kept, before);
            ended.close();
            while let Ok(Ended { waiting, answer, state, context }) = ended.try_recv() {
                made += u64::from(state.is_some());
                kept.push_back(Kept { needs: made, waiting, answer, context });
            }
            release(&mut kept, before);
            for Kept { waiting, context, .. } in kept {
                waiting.answer(Err(undone(&context, &lost)));
            }
            return Err(lost);
        }
        committed.send_replace(made);
        release(&mut kept, made);
    }
    Ok(())
}

/// Lets everything go that saw no more than what is committed.
fn release(kept: &mut VecDeque<Kept>, committed: u64) {
    while let Some(first) = kept.pop_front_if(|first| first.needs <= committed) {
        first.waiting.answer(first.answer);
    }
}

/// What a caller is told whose turn saw a state that is not committed.
fn undone(context: &TurnContext, lost: &Lost) -> Fault {
    match lost {
        Lost::Taken => context.undone(),
        Lost::Unknown => {
            Fault::Unknown(format!("{} (another node took it over while it handled this)", context.actor))
        }
    }
}
