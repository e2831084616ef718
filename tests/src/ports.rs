//! Free TCP ports below the range from which the kernel takes those of outgoing connections, so that a server that
//! was stopped finds its port free when it comes back.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Each test process walks its own way through the range.
static STEP: AtomicU16 = AtomicU16::new(0);

/// A port on which nothing listens on the loopback address at the moment.
pub fn free() -> u16 {
    for _ in 0..COUNT {
        let step = STEP.fetch_add(1, Ordering::Relaxed);
        let start = (std::process::id().wrapping_mul(7919) % u32::from(COUNT)) as u16;
        let port = FIRST + (start + step.wrapping_mul(17) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT)
}
