//! Is the clock kept right? Deadlines travel as the time of the NATS server, to which each node knows its offset, so a
//! wrong clock breaks no call; but logs and traces of several machines are then hard to read side by side.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Finding;

const CHECK: &str = "clock";

/// 2026-01-01, before which this program did not exist.
const BIRTH: Duration = Duration::from_secs(1_767_225_600);

/// systemd-timesyncd touches it at each synchronisation.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";

pub fn kept() -> Finding {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(now) if now >= BIRTH => {}
        _ => return Finding::failed(CHECK, "the clock is years behind; set it before starting a node"),
    }
    if Path::new(TIMESYNCD).exists() {
        return Finding::ok(CHECK, "synchronised by systemd-timesyncd");
    }
    match timedatectl().as_deref() {
        Some("yes") => Finding::ok(CHECK, "synchronised"),
        Some("no") => Finding::warning(CHECK, "not synchronised; start chrony or systemd-timesyncd"),
        _ => Finding::ok(CHECK, "plausible (nothing here tells whether it is synchronised)"),
    }
}

fn timedatectl() -> Option<String> {
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    asked.status.success().then(|| String::from_utf8_lossy(&asked.stdout).trim().to_owned())
}
