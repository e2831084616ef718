//! One actor that does whatever a test asks, bad things first: it spins, traps, hoards memory and floods.
//!
//! It is no example of anything. What it counts dies with its instance, which some tests rely on.

mod ask;
mod bulk;
mod clock;

use std::env;
use std::hint::black_box;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lattice_actor::serde_json::{self, Value, json};
use lattice_actor::tracing::{self, Instrument};
use lattice_actor::{Context, Rejection, Result, actor, join, join_all, log};
use serde::{Deserialize, Serialize};

pub use bulk::{Blob, Bulk};

/// The actor.
#[derive(Default)]
pub struct Misfit;

/// What a turn knows of itself.
#[derive(Debug, Serialize, Deserialize)]
pub struct Who {
    /// Its own ID.
    pub self_id: String,
    /// The calling actor's ID.
    pub caller: Option<String>,
    /// What was left of the deadline.
    pub remaining_ms: u64,
    /// The trace context.
    pub traceparent: Option<String>,
    /// 1 on the first try.
    pub attempt: u32,
    /// The message's ID.
    pub message_id: String,
}

/// How often `count` ran in this instance.
static RUNS: AtomicU64 = AtomicU64::new(0);

#[actor(implements(Bulk))]
impl Misfit {
    /// Not ready with `UNREADY` in its environment, which says why; `trap` and `hang` do that instead.
    #[check]
    async fn check(&self) -> Result<(), String> {
        match env::var("UNREADY").ok().as_deref() {
            None => Ok(()),
            Some("trap") => panic!("this check traps on purpose"),
            Some("hang") => {
                clock::wait(Duration::from_secs(3_600)).await;
                Ok(())
            }
            Some(why) => Err(why.to_owned()),
        }
    }

    /// Gives the text back. With `BROKEN` in its environment it traps, as a bad new version may.
    #[idempotent]
    async fn echo(&self, _ctx: &Context, text: String) -> Result<String> {
        assert!(std::env::var_os("BROKEN").is_none(), "this version is broken on purpose");
        Ok(text)
    }

    /// Never ends, and never lets go of the thread.
    async fn spin(&self, _ctx: &Context) -> Result<()> {
        loop {
            black_box(());
        }
    }

    /// Traps.
    async fn trap(&self, _ctx: &Context) -> Result<()> {
        panic!("this actor traps on purpose")
    }

    /// Allocates until there is no more.
    async fn hoard(&self, _ctx: &Context) -> Result<()> {
        let mut hoard = Vec::new();
        loop {
            hoard.push(black_box(vec![1_u8; 1 << 20]));
        }
    }

    /// Answers with so many bytes of text.
    async fn big_reply(&self, _ctx: &Context, bytes: u64) -> Result<String> {
        let bytes = usize::try_from(bytes).map_err(|_| Rejection::new("too-many", "no text is that long"))?;
        Ok("x".repeat(bytes))
    }

    /// Waits without holding the instance, and gives the time back.
    async fn sleep(&self, _ctx: &Context, ms: u64) -> Result<u64> {
        clock::wait(Duration::from_millis(ms)).await;
        Ok(ms)
    }

    /// Calls an operation of another actor, and gives its reply back as text. What is JSON is sent as it is, nothing
    /// as no arguments, and anything else as one text.
    async fn relay(&self, ctx: &Context, to: String, operation: String, text: String) -> Result<String> {
        let arguments = match text.as_str() {
            "" => Value::Null,
            json => serde_json::from_str(json).unwrap_or_else(|_| text.into()),
        };
        match ctx.call(to, &operation, &arguments).await? {
            Value::String(reply) => Ok(reply),
            reply => Ok(reply.to_string()),
        }
    }

    /// Asks a server by the standard's HTTP of 0.2, and gives the status of its answer, or why there is none. It holds the instance
    /// meanwhile.
    async fn ask(&self, _ctx: &Context, authority: String, path: String) -> Result<String> {
        Ok(ask::get(&authority, &path))
    }

    /// The same by that of 0.3, which lets other turns go on.
    async fn ask_async(&self, _ctx: &Context, authority: String, path: String) -> Result<String> {
        Ok(ask::get_async(&authority, &path).await)
    }

    /// Calls `echo` of another actor so many times at once, and counts the replies.
    async fn fan(&self, ctx: &Context, to: String, n: u32) -> Result<u32> {
        let calls =
            (0..n).map(|turn| ctx.call::<String>(to.as_str(), "echo", &json!({ "text": turn.to_string() })));
        let mut replies = 0;
        for reply in join_all(calls).await {
            reply?;
            replies += 1;
        }
        Ok(replies)
    }

    /// Calls another actor `n` times with so many bytes, `at_once` at any time, and counts the replies: `echo` with
    /// JSON, or `reflect` with Protobuf.
    ///
    /// For benchmarks: what is measured is then the mesh, not how fast somebody outside can ask.
    async fn storm(
        &self,
        ctx: &Context,
        to: String,
        n: u32,
        at_once: u32,
        bytes: u32,
        json: bool,
    ) -> Result<u32> {
        let text = "x".repeat(bytes as usize);
        let arguments = json!({ "text": text });
        let (blob, bulk) = (Blob { bytes: text.into_bytes() }, ctx.actor::<dyn Bulk>(to.as_str()));
        let lanes = (0..at_once.max(1)).map(async |lane| {
            // Lane by lane the numbers differ by one at most, and add up to `n`.
            let share = n / at_once.max(1) + u32::from(lane < n % at_once.max(1));
            for _ in 0..share {
                let back = match json {
                    true => ctx.call::<String>(to.as_str(), "echo", &arguments).await?.len(),
                    false => bulk.reflect(&blob).await?.bytes.len(),
                };
                if back != bytes as usize {
                    return Err(Rejection::new("another-reply", "what came back is not what was sent").into());
                }
            }
            Result::<u32>::Ok(share)
        });
        let mut replies = 0;
        for lane in join_all(lanes).await {
            replies += lane?;
        }
        Ok(replies)
    }

    /// Calls an operation without arguments `n` times, `at_once` at any time, over so many keys of a keyed actor from the
    /// first on, and counts the replies.
    #[allow(clippy::too_many_arguments, reason = "each is one of its arguments by name")]
    async fn storm_keys(
        &self,
        ctx: &Context,
        to: String,
        operation: String,
        first: u32,
        keys: u32,
        n: u32,
        at_once: u32,
    ) -> Result<u32> {
        let (at_once, keys) = (at_once.max(1), keys.max(1));
        let lanes = (0..at_once).map(async |lane| {
            let mut replies = 0;
            for turn in (lane..n).step_by(at_once as usize) {
                let key = format!("{to}/k{}", first + turn % keys);
                ctx.call::<u64>(key.as_str(), &operation, &Value::Null).await?;
                replies += 1;
            }
            Result::<u32>::Ok(replies)
        });
        let mut replies = 0;
        for lane in join_all(lanes).await {
            replies += lane?;
        }
        Ok(replies)
    }

    /// Tells what this turn knows of itself.
    async fn who(&self, ctx: &Context) -> Result<Who> {
        Ok(Who {
            self_id: ctx.self_id().into(),
            caller: ctx.caller().map(Into::into),
            remaining_ms: u64::try_from(ctx.remaining().as_millis()).unwrap_or(u64::MAX),
            traceparent: ctx.traceparent().map(Into::into),
            attempt: ctx.attempt(),
            message_id: ctx.message_id().into(),
        })
    }

    /// Publishes a number, as `on_message` hears it.
    async fn tell(&self, ctx: &Context, topic: String, number: u64) -> Result<()> {
        ctx.publish(&topic, &json!({ "number": number })).await
    }

    /// Hears a number: appends it to a list of its own for each topic, when it has waited for so long, or fails where it is to. Before
    /// that it appends it to a list of those that it began with.
    async fn on_message(
        &self,
        ctx: &Context,
        number: u64,
        wait_ms: Option<u64>,
        fail: Option<bool>,
    ) -> Result<()> {
        let (me, topic) = (ctx.self_id(), ctx.topic().unwrap_or_else(|| "none".to_owned()));
        let append = async |list: &str| {
            let key = format!("ledger/{me}:{list}");
            ctx.call::<usize>(key.as_str(), "append", &json!({ "number": number })).await
        };
        if fail.unwrap_or_default() {
            let caller = ctx.caller().unwrap_or("nobody");
            return Err(Rejection::new("refused", format!("as it was told by {topic} from {caller}")).into());
        }
        if let Some(ms) = wait_ms {
            append("begun").await?;
            clock::wait(Duration::from_millis(ms)).await;
        }
        append(&topic).await.map(drop)
    }

    /// Fails with an error of its own.
    async fn reject(&self, _ctx: &Context, code: String) -> Result<()> {
        let details = json!({ "code": code });
        Err(Rejection::new(code, "this actor rejects on purpose").with_details(&details).into())
    }

    /// How often this ran in this instance, this time included.
    async fn count(&self, _ctx: &Context) -> Result<u64> {
        Ok(RUNS.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Logs the text.
    async fn log(&self, _ctx: &Context, text: String) -> Result<()> {
        log::info!("{text}");
        Ok(())
    }

    /// Prints so many lines of so many bytes, none of which is text.
    async fn babble(&self, _ctx: &Context, lines: u32, bytes: u32) -> Result<()> {
        let mut line: Vec<u8> =
            (0..=255).filter(|byte| *byte != b'\n').cycle().take(bytes as usize).collect();
        line.push(b'\n');
        let mut out = std::io::stdout();
        for _ in 0..lines {
            out.write_all(&line).map_err(|error| Rejection::new("not-written", error.to_string()))?;
        }
        Ok(())
    }

    /// Works in spans of its own, side by side: each calls `echo` of another actor from within, and one of them fails.
    async fn work(&self, ctx: &Context, to: String) -> Result<()> {
        let step = async |name: &str| {
            tracing::Span::current().record("step", name);
            clock::wait(Duration::from_millis(5)).await;
            let _: String = ctx.call(to.as_str(), "echo", &json!({ "text": name })).await?;
            match name {
                "bad" => tracing::error!(code = 7, "it went wrong"),
                _ => tracing::info!(code = 1, "it went well"),
            }
            Result::<()>::Ok(())
        };
        let span = || tracing::info_span!("step", step = tracing::field::Empty, size = 3);
        let outer = tracing::info_span!("outer");
        let (one, other) = async { join!(step("good").instrument(span()), step("bad").instrument(span())) }
            .instrument(outer)
            .await;
        one.and(other)
    }

    /// Makes so many spans, with as much text as there is room for and more, and ends none of them.
    async fn weave(&self, _ctx: &Context, spans: u32) -> Result<()> {
        let text = "x".repeat(100_000);
        for number in 0..spans {
            std::mem::forget(tracing::info_span!("thread", number, text));
        }
        Ok(())
    }

    /// The variable of the manifest's `env`.
    #[idempotent]
    async fn env(&self, _ctx: &Context, name: String) -> Result<Option<String>> {
        Ok(env::var(name).ok())
    }
}

#[cfg(test)]
mod tests {
    use lattice_actor::CallError;
    use lattice_actor::testing::{Mesh, block_on};

    use super::*;

    #[test]
    fn it_relays_and_fans_out_to_itself() {
        let mesh = Mesh::new().actor("misfit", Misfit);
        let ctx = mesh.context();
        let relayed = block_on(Misfit.relay(&ctx, "misfit".into(), "echo".into(), "hi".into()));
        assert_eq!(relayed.as_deref(), Ok("hi"));
        assert_eq!(block_on(Misfit.fan(&ctx, "misfit".into(), 40)), Ok(40));
        assert_eq!(mesh.most_at_once(), 40);
    }

    #[test]
    fn it_tells_and_notes_what_it_hears() {
        let list = "ledger/under-test:orders.created";
        let mesh = Mesh::new().answer(list, "append", |arguments| Ok(arguments["number"].clone()));
        let ctx = mesh.context().with_topic("orders.created");
        assert_eq!(block_on(Misfit.tell(&ctx, "orders.created".into(), 7)), Ok(()));
        assert_eq!(mesh.published()[0].topic, "orders.created");
        assert_eq!(mesh.published()[0].message, json!({ "number": 7 }));
        assert_eq!(block_on(Misfit.on_message(&ctx, 7, None, None)), Ok(()));
        assert_eq!(mesh.calls()[0].to, list);
    }

    #[test]
    fn it_rejects_with_the_code_it_is_given() {
        let error = block_on(Misfit.reject(&Mesh::new().context(), "out-of-luck".into()));
        assert!(matches!(error, Err(CallError::Rejected(rejection)) if rejection.code == "out-of-luck"));
    }
}
