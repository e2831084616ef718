//! One operation on what a guest keeps elsewhere: it hangs in the trace of its turn, ends with it, and is held to what holds for the
//! calls of that turn.

use std::time::{Duration, Instant};

use lattice_proto::StoreName;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{AsContextMut, StoreContextMut};
use wasmtime_wasi::WasiView;

use crate::engine::{self, Guest};
use crate::keyed::Tenure;
use crate::replica::Gate;
use crate::telemetry::{Span, attribute, metrics};

/// How long one operation may take, unless its turn ends before. A cluster elects within seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// An operation that may begin.
pub(super) struct Operation {
    span: Span,
    until: Instant,
    cancelled: CancellationToken,
    gate: Option<Gate>,
    tenure: Option<(Tenure, u64)>,
}

/// Begins one on what has this name, from within a turn.
///
/// # Errors
/// Outside of any turn, where nobody waits for it.
pub(super) fn begin(
    mut store: StoreContextMut<'_, Guest>,
    what: &'static str,
    name: &str,
) -> Result<Operation, String> {
    let turn = engine::current_turn(store.as_context_mut())
        .ok_or("what is kept can be asked for only while a message or a request is handled")?;
    // Whatever comes of it, the turn cannot be made undone any more.
    turn.call();
    let mut span = Span::ask(turn.own.scope().or_else(|| turn.trace.clone()), what);
    span.note(attribute::STORE, name.to_owned());
    let now = Instant::now();
    // The body of an answer may be written after the deadline, which is that of its head.
    let until = if turn.deadline > now { turn.deadline.min(now + PATIENCE) } else { now + PATIENCE };
    Ok(Operation { span, until, cancelled: turn.cancelled.clone(), gate: turn.gate(), tenure: turn.tenure() })
}

impl Operation {
    /// Does it, and says in one sentence why not.
    pub async fn run<T, E: ToString>(
        mut self,
        what: impl Future<Output = Result<T, E>>,
    ) -> Result<T, String> {
        let done = self.cancelled.clone().run_until_cancelled(self.held_back(what)).await;
        let done = done.unwrap_or_else(|| Err("nobody waits for it any more".to_owned()));
        if let Err(reason) = &done {
            self.span.broke(reason);
        }
        done
    }

    async fn held_back<T, E: ToString>(&self, what: impl Future<Output = Result<T, E>>) -> Result<T, String> {
        let all = async {
            // What a turn saw and is not committed yet may still be undone, and this cannot.
            if let Some(gate) = self.gate.clone() {
                gate.open().await.map_err(|fault| fault.to_string())?;
            }
            if let Some((tenure, number)) = &self.tenure {
                tenure.until(*number).ok_or("another node serves this key by now")?;
            }
            what.await.map_err(|error| error.to_string())
        };
        let late = |_| "it was not done in time; it is not known whether it will be".to_owned();
        tokio::time::timeout_at(self.until.into(), all).await.map_err(late)?
    }
}

/// Counts that a guest asked for a store that its manifest does not grant, tells the operator what to do about it, once for each, and gives
/// what was told.
pub(super) fn refuse(
    mut store: StoreContextMut<'_, Guest>,
    kind: &str,
    grant: &str,
    name: &StoreName,
) -> String {
    let turn = engine::current_turn(store.as_context_mut());
    let trace = turn.and_then(|turn| turn.trace.as_ref().map(|scope| scope.context.parent));
    let home = &store.data().home;
    let actor = &home.actor;
    metrics::store_refused(actor.name.as_str());
    let hint = format!(
        "`{actor}` may not open the {kind} `{name}`; add it to `grants.{grant}` of `{actor}` in the manifest"
    );
    if home.refused.is_new(format!("{kind} {name}")) {
        tracing::warn!(%actor, version = home.version, trace = trace.map(tracing::field::display), "{hint}");
    }
    hint
}

/// What the guest holds.
pub(super) fn table<'a>(store: &'a mut StoreContextMut<'_, Guest>) -> &'a mut ResourceTable {
    store.data_mut().ctx().table
}

/// Lets go of what the guest drops.
pub(super) fn drop_resource<T: 'static>(
    mut store: StoreContextMut<'_, Guest>,
    rep: u32,
) -> wasmtime::Result<()> {
    table(&mut store).delete(Resource::<T>::new_own(rep))?;
    Ok(())
}
