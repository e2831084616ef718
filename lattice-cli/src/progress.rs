//! Progress of long work, on stderr: a bar on a terminal, a line per change elsewhere, nothing beside JSON.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Format;

/// One piece of long work.
pub struct Progress {
    bar: ProgressBar,
    /// Where bars cannot be drawn, changes are told line by line.
    lines: Option<String>,
    format: Format,
}

impl Progress {
    /// Begins; the total may change later.
    pub fn new(format: Format, title: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let shown = format == Format::Text && terminal;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target).with_prefix(title.to_owned());
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {pos}/{len} {wide_msg}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        if shown {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self { bar, lines: (!terminal).then(String::new), format }
    }

    /// So much is done, and this is what is going on.
    pub fn update(&mut self, done: u64, total: u64, message: &str) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(message.to_owned());
        if let Some(last) = &mut self.lines {
            let line = format!("{} {done}/{total} {message}", self.bar.prefix());
            let line = line.trim_end();
            if line != last {
                self.format.note(line);
                line.clone_into(last);
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
