//! Becomes the program that its arguments name, after asking the kernel to kill it together with its parent.
//!
//! A test process that is killed cannot clean up. Asking between fork and exec would need `unsafe`; asking here does not.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("guard PROGRAM [ARGUMENT]...");
        return ExitCode::from(2);
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("guard: {error}");
    }
    // The parent may have died before the line above; then it is init that we are a child of now.
    if getppid().is_none_or(|parent| parent.is_init()) {
        return ExitCode::FAILURE;
    }
    let error = Command::new(program).args(words).exec();
    eprintln!("guard: {error}");
    ExitCode::FAILURE
}
