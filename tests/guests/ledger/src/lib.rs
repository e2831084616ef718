//! A list under each key. What was appended is seen by whoever comes later, once, and in one order: a test that loses
//! something, or has it twice, finds it in the list.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lattice_actor::serde_json::json;
use lattice_actor::{Cause, Context, Rejection, Result, Schedule, Turn, keyed, log};
use serde::{Deserialize, Serialize};

/// The list of one key.
#[derive(Default, Serialize, Deserialize)]
pub struct Ledger {
    entries: Vec<u64>,
    padding: String,
    #[serde(default)]
    rung: Vec<Rung>,
    #[serde(default)]
    touched: u64,
}

/// A reminder that came.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rung {
    number: u64,
    /// Milliseconds since 1970: when it was due, and when it came.
    due: u64,
    came: u64,
    /// The message's id.
    id: String,
}

/// Has the node write down that something happened to a key, and when, where the manifest asks for it: what becomes of the
/// turn has no part in that.
fn witness(what: &str, key: &str) {
    if std::env::var_os("WITNESS").is_some() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        log::info!("witness {what} {key} {now}");
    }
}

#[keyed]
impl Ledger {
    /// Tells a witness that it is awake.
    #[woken]
    fn woken(&mut self, key: &str) {
        witness("awake", key);
    }

    /// Appends a number, and gives how many there are then.
    async fn append(&mut self, ctx: &Turn, number: u64) -> Result<usize> {
        witness("turn", ctx.key());
        self.entries.push(number);
        Ok(self.entries.len())
    }

    /// All of them.
    async fn all(&self, ctx: &Context) -> Result<Vec<u64>> {
        witness("turn", ctx.key().unwrap_or_default());
        Ok(self.entries.clone())
    }

    /// Appends a number and fails: nothing is to be left of it.
    async fn fail(&mut self, _ctx: &Turn, number: u64) -> Result<usize> {
        self.entries.push(number);
        Err(Rejection::new("refused", "as it was told").into())
    }

    /// Appends a number and traps: nothing is to be left of it.
    async fn trap(&mut self, _ctx: &Turn, number: u64) -> Result<usize> {
        self.entries.push(number);
        panic!("as it was told")
    }

    /// Makes the state so large, in bytes.
    async fn grow(&mut self, _ctx: &Turn, bytes: usize) -> Result<usize> {
        self.padding = "x".repeat(bytes);
        Ok(self.entries.len())
    }

    /// Appends a number and then computes for so long.
    async fn slow(&mut self, _ctx: &Turn, number: u64, ms: u64) -> Result<usize> {
        self.entries.push(number);
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(ms) {
            std::hint::spin_loop();
        }
        Ok(self.entries.len())
    }

    /// Appends a number, and sends it on to others, which append it as well.
    async fn spread(&mut self, ctx: &Turn, number: u64, to: Vec<String>) -> Result<usize> {
        self.entries.push(number);
        for id in to {
            ctx.send(ctx.call::<usize>(id, "append", &number))?;
        }
        Ok(self.entries.len())
    }

    /// Appends a number, and publishes it.
    async fn announce(&mut self, ctx: &Turn, topic: String, number: u64) -> Result<usize> {
        self.entries.push(number);
        ctx.publish(&topic, &json!({ "number": number })).await?;
        Ok(self.entries.len())
    }

    /// Sends somebody something, and fails: nothing is to be left of it.
    async fn spread_and_fail(&mut self, ctx: &Turn, number: u64, to: String) -> Result<usize> {
        self.entries.push(number);
        ctx.send(ctx.call::<usize>(to, "append", &number))?;
        Err(Rejection::new("refused", "as it was told").into())
    }

    /// Appends a number if there is one already; else it fails.
    async fn follow(&mut self, _ctx: &Turn, number: u64) -> Result<usize> {
        if self.entries.is_empty() {
            return Err(Rejection::new("nothing-to-follow", "there is nothing yet").into());
        }
        self.entries.push(number);
        Ok(self.entries.len())
    }

    /// Is reminded of a number: after so many milliseconds, and again and again where `every`.
    async fn later(&mut self, ctx: &Turn, id: String, number: u64, ms: u64, every: bool) -> Result<()> {
        let time = Duration::from_millis(ms);
        let schedule = if every { Schedule::every(time) } else { Schedule::after(time) };
        ctx.remind(id, schedule, ctx.myself::<Self>().ring(number))
    }

    /// Counts on by a timer: after so many milliseconds, and again and again where `every`.
    async fn tick(&mut self, ctx: &Turn, id: String, ms: u64, every: bool) -> Result<()> {
        let (time, call) = (Duration::from_millis(ms), ctx.myself::<Self>().touch());
        if every { ctx.timer_every(id, time, call) } else { ctx.timer(id, time, call) }
    }

    /// Sets so many timers, for much later.
    async fn tick_often(&mut self, ctx: &Turn, count: u32) -> Result<()> {
        let much_later = Duration::from_secs(3_600);
        (0..count).try_for_each(|n| ctx.timer(format!("later-{n}"), much_later, ctx.myself::<Self>().touch()))
    }

    /// Is not told by that timer any more.
    async fn untick(&mut self, ctx: &Turn, id: String) -> Result<()> {
        ctx.cancel_timer(id);
        Ok(())
    }

    /// Is not reminded any more.
    async fn forget(&mut self, ctx: &Turn, id: String) -> Result<()> {
        ctx.cancel_reminder(id);
        Ok(())
    }

    /// Handles a reminder. One of number 13 it cannot handle.
    async fn ring(&mut self, ctx: &Turn, number: u64) -> Result<()> {
        if number == 13 {
            return Err(Rejection::new("unlucky", "as it was told").into());
        }
        let Cause::Reminder(occurrence) = ctx.cause() else {
            return Err(Rejection::new("not-due", "only reminders ring").into());
        };
        let ms = |time: std::time::SystemTime| {
            time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
        };
        let (due, came, id) = (ms(occurrence.due), ms(ctx.now()), ctx.message_id().to_owned());
        self.rung.push(Rung { number, due, came, id });
        Ok(())
    }

    /// The reminders that came.
    async fn rung(&self, _ctx: &Context) -> Result<Vec<Rung>> {
        Ok(self.rung.clone())
    }

    /// Counts how often it was called: the least that a turn can change.
    async fn touch(&mut self, _ctx: &Turn) -> Result<u64> {
        self.touched += 1;
        Ok(self.touched)
    }

    /// That count.
    #[idempotent]
    async fn touched(&self, _ctx: &Context) -> Result<u64> {
        Ok(self.touched)
    }

    /// Gives the text back: a turn that changes nothing.
    #[idempotent]
    async fn echo(&self, _ctx: &Context, text: String) -> Result<String> {
        Ok(text)
    }

    /// Calls an operation of another actor, or of this one, without arguments.
    async fn ask(&mut self, ctx: &Turn, id: String) -> Result<Vec<u64>> {
        ctx.call(id.as_str(), "all", &()).await
    }
}
