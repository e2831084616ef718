//! How the demo speaks: headlines, sentences, command lines and what they printed; in colour only on a terminal.

use std::env;
use std::io::{IsTerminal, stdout};
use std::sync::OnceLock;

/// A new chapter.
pub fn title(text: &str) {
    println!("\n{}", paint("1;36", &format!("── {text}")));
}

/// A sentence to the reader.
pub fn say(text: &str) {
    println!("   {text}");
}

/// A command line, as the reader could type it.
pub fn show_command(text: &str) {
    println!("   {} {}", paint("2", "$"), paint("1", text));
}

/// What a command printed, or a table of ours.
pub fn show_block(text: &str) {
    for line in text.trim_end().lines() {
        println!("     {line}");
    }
}

fn paint(code: &str, text: &str) -> String {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    let colours = *COLOURS.get_or_init(|| stdout().is_terminal() && env::var_os("NO_COLOR").is_none());
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
