//! `lattice bench`: calls an actor at a steady rate, and tells how long that took.
//!
//! The load is an open loop: calls are due at their times, whatever became of those before, and each is measured from
//! when it was due. So an actor that falls behind shows what its callers would feel, and not what a tester that waits
//! politely would.

mod pace;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lattice_proto::admin::CallRequest;
use tokio::sync::{Semaphore, mpsc};

use super::call::Told;
use crate::admin;
use crate::cli::Global;
use crate::duration;
use crate::failure::Failure;
use crate::progress::Progress;
use report::{Report, Said};

/// Calls that are under way over one connection; what a node takes at once from all its clients is 4096.
const PER_CONNECTION: usize = 1_024;

/// How often the progress is shown.
const SHOW: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    told: Told,
    /// Calls that are made in each second, however long they take
    #[arg(short, long, default_value_t = 100.0, value_parser = rate)]
    rate: f64,
    /// For how long
    #[arg(short, long, default_value = "10s", value_parser = duration::parse)]
    duration: Duration,
    /// For how long before, which is not measured
    #[arg(long, default_value = "1s", value_parser = duration::parse)]
    warmup: Duration,
    /// Spread the calls over so many keys of a keyed actor: k0, k1 and so on
    #[arg(long, value_name = "KEYS")]
    keys: Option<u32>,
    /// Connections to the node; each has 1024 calls under way at most, and what is due then waits for room
    #[arg(short, long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    connections: u16,
    /// Give a call up after so long
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    timeout: Duration,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.01..=1_000_000.0).contains(rate));
    rate.ok_or_else(|| "write a number of calls in a second, from 0.01 to 1000000".to_owned())
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let payload = args.told.payload()?;
    let Told { target, operation, .. } = &args.told;
    if args.keys.is_some() && target.key.is_some() {
        return Err(Failure::usage(format!("`{target}` is one key; name the actor alone with --keys")));
    }
    let mut clients = Vec::new();
    for _ in 0..args.connections {
        clients.push(admin::connect(global).await?);
    }
    let request = CallRequest {
        target: target.to_string(),
        operation: operation.to_string(),
        payload: payload.into(),
        content_type: args.told.content_type(),
        timeout_ms: u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX),
        traceparent: String::new(),
    };
    // The first one tells whether it can be called at all, and an error of use is worth more than a report of them.
    let first = with_key(&request, args.keys, 0);
    if let Err(status) = clients[0].call(first).await {
        let failure = Failure::from(status).of_message();
        if ["no-such-actor", "no-such-operation", "malformed", "denied"].contains(&failure.kind.as_str()) {
            return Err(failure);
        }
    }

    let title = format!("{target} {operation} at {}/s", args.rate);
    let mut progress = Progress::new(global.output, &title);
    let began = Instant::now();
    let measured_from = began + args.warmup;
    let end = measured_from + args.duration;
    let mut due = pace::begin(args.rate, began, end);
    let room = Arc::new(Semaphore::new(usize::from(args.connections) * PER_CONNECTION));
    let under_way = Arc::<AtomicU64>::default();
    let (told, mut heard) = mpsc::unbounded_channel::<Said>();
    let mut report = Report::new(args.rate, args.duration, measured_from);
    let mut show = tokio::time::interval(SHOW);
    let mut number = 0_u64;
    let mut open = true;
    while open || under_way.load(Ordering::Acquire) > 0 || !heard.is_empty() {
        tokio::select! {
            next = due.recv(), if open => {
                let Some(at) = next else { open = false; continue };
                let client = clients[usize::try_from(number).unwrap_or(0) % clients.len()].clone();
                let request = with_key(&request, args.keys, number);
                let (room, under_way, told) = (room.clone(), under_way.clone(), told.clone());
                under_way.fetch_add(1, Ordering::AcqRel);
                number += 1;
                tokio::spawn(async move {
                    let said = one(client, request, &room, at).await;
                    // Nobody hears it only when all of it has ended.
                    let _ = told.send(said);
                    under_way.fetch_sub(1, Ordering::AcqRel);
                });
            }
            Some(said) = heard.recv() => if said.due >= measured_from {
                report.add(&said);
            },
            _ = show.tick() => {
                let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let done = ms(began.elapsed()).min(ms(end - began));
                progress.update(done / 1_000, ms(end - began) / 1_000, &report.line());
            }
        }
    }
    drop(progress);
    global.output.print(&report.numbers(), |_| report.text(&title))
}

fn with_key(request: &CallRequest, keys: Option<u32>, number: u64) -> CallRequest {
    let mut request = request.clone();
    if let Some(keys) = keys {
        request.target = format!("{}/k{}", request.target, number % u64::from(keys.max(1)));
    }
    request
}

/// Makes one call that was due then.
async fn one(mut client: admin::Client, request: CallRequest, room: &Semaphore, due: Instant) -> Said {
    // It is never closed.
    let _room = room.acquire().await;
    let outcome = client.call(request).await;
    let took = due.elapsed();
    let fault = outcome.err().map(|status| Failure::from(status).of_message().kind);
    Said { due, took, fault }
}
