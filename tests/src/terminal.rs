//! A terminal of the test's own, by tmux: what a program shows on it, and keys for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::{say::had, wait_for};

/// A running terminal with one program in it.
pub struct Terminal {
    program: PathBuf,
    socket: PathBuf,
    _server: Process,
    folder: TempDir,
}

/// The program: `LATTICE_TMUX`, or one that the set-up gets. None, and a loud line, where there is none.
pub async fn program(test: &str) -> Option<PathBuf> {
    had("LATTICE_TMUX", test, lattice_setup::tmux).await
}

impl Terminal {
    /// Starts a program with these words in a terminal of this size. How it ended is written into a file.
    pub async fn start(tmux: &Path, size: (u16, u16), program: &Path, words: &[&str], admin: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let configure = |command: &mut std::process::Command| {
            command.arg("-S").arg(&socket).args(["-f", "/dev/null", "-D"]);
            command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").env_remove("TMUX");
        };
        let server = Process::start("tmux", tmux, configure, &folder.path().join("log"));
        let terminal = Self { program: tmux.to_owned(), socket, _server: server, folder };
        let is_there = async || terminal.socket.exists();
        crate::wait_until("the terminal", Duration::from_secs(10), is_there, |there| *there).await;
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let command = format!(
            "LATTICE_ADMIN={admin} '{}' {}; echo $? > '{}'",
            program.display(),
            words.join(" "),
            terminal.ending().display()
        );
        let (width, height) = (size.0.to_string(), size.1.to_string());
        terminal.tmux(&["new-session", "-d", "-s", "it", "-x", &width, "-y", &height, &command]).await;
        terminal
    }

    /// What is on the screen, line by line.
    pub async fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", "it"]).await
    }

    /// Presses keys, by tmux's names for them.
    pub async fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys", "-t", "it"][..], keys].concat()).await;
    }

    /// Makes it another size.
    pub async fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-t", "it", "-x", &width.to_string(), "-y", &height.to_string()]).await;
    }

    /// The screen, once it is as wanted.
    pub async fn shows(&self, what: &str, bound: Duration, wanted: impl Fn(&str) -> bool) -> String {
        wait_for(what, bound, async || self.screen().await, |screen: &String| wanted(screen)).await
    }

    /// With which code the program ended, once it has.
    pub async fn ended(&self, bound: Duration) -> i32 {
        let read = async || std::fs::read_to_string(self.ending()).unwrap_or_default();
        let text = wait_for("the program's end", bound, read, |text: &String| text.ends_with('\n')).await;
        text.trim().parse().unwrap()
    }

    fn ending(&self) -> PathBuf {
        self.folder.path().join("ended")
    }

    async fn tmux(&self, words: &[&str]) -> String {
        let mut command = tokio::process::Command::new(&self.program);
        command.arg("-S").arg(&self.socket).args(words).env_remove("TMUX").kill_on_drop(true);
        let output = command.output().await.unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
