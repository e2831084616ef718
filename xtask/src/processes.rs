//! Finding and ending processes by a mark in their environment, which children inherit.
//!
//! A mark is unique to a run, so nothing is ever ended that another run, or a person, has started. Where the system has
//! no `/proc` nothing is found; runs then rely on everybody ending their own children.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The variable that carries the mark.
pub const MARK: &str = "LATTICE_RUN";

/// A process that carries the mark.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marked {
    pub id: i32,
    pub name: String,
}

/// All processes with this mark. Compiler caches are left out: they are servers that outlive whoever needed them first.
pub fn marked(mark: &str) -> Vec<Marked> {
    let wanted = format!("{MARK}={mark}");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Other people's processes cannot be read, and a process may end while it is looked at.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        if carries(&environment, &wanted) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim().to_owned();
            if !name.contains("ccache") {
                found.insert(Marked { id, name });
            }
        }
    }
    found.into_iter().collect()
}

fn carries(environment: &[u8], wanted: &str) -> bool {
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

/// Asks every marked process to end, and ends those that do not, also stopped ones. Returns whom it met.
pub fn end_marked(mark: &str, patience: Duration) -> Vec<Marked> {
    let met = marked(mark);
    for process in &met {
        signal(process, Signal::TERM);
    }
    let start = Instant::now();
    while start.elapsed() < patience && !marked(mark).is_empty() {
        thread::sleep(Duration::from_millis(50));
    }
    // One round may miss a child that was born while it looked.
    for _ in 0..5 {
        let left = marked(mark);
        if left.is_empty() {
            break;
        }
        left.iter().for_each(|process| signal(process, Signal::KILL));
        thread::sleep(Duration::from_millis(50));
    }
    met
}

fn signal(process: &Marked, signal: Signal) {
    if let Some(id) = Pid::from_raw(process.id) {
        // It may have ended by itself, which is what was wanted.
        let _ = kill_process(id, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_the_exact_mark_counts() {
        assert!(carries(b"PATH=/bin\0LATTICE_RUN=7-1\0HOME=/", "LATTICE_RUN=7-1"));
        assert!(!carries(b"LATTICE_RUN=7-12\0", "LATTICE_RUN=7-1"));
        assert!(!carries(b"MY_LATTICE_RUN=7-1\0", "LATTICE_RUN=7-1"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn marked_processes_are_ended_also_when_they_ignore_the_request() {
        let mark = format!("unit-test-{}", std::process::id());
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"])
            .env(MARK, &mark)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its first word says that the trap is set.
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
        assert!(marked(&mark).iter().any(|process| process.id == i32::try_from(child.id()).unwrap()));
        end_marked(&mark, Duration::from_millis(200));
        assert!(!child.wait().unwrap().success());
        assert_eq!(marked(&mark), []);
    }
}
