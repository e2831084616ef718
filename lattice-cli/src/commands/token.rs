//! `lattice token new`: makes a secret, and the entry by which nodes know it. It speaks to no node.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use lattice_proto::{Digest, Ran};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::Global;
use crate::duration;
use crate::failure::Failure;

/// Nobody guesses so many bits, so a plain digest of them gives nothing away.
const SECRET_BYTES: usize = 32;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a secret, and the entry for the nodes' tokens file
    New(Args),
}

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What its holder may do: look, watch messages as well, or all of it
    #[arg(long, value_enum)]
    role: Role,
    /// What it is called in the tokens file and in messages [default: made of the role and the digest]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// How long it is good for, such as 30d [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    expires: Option<Duration>,
    /// Write the secret into a new file that only you can read, and do not print it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Role {
    /// List, get, watch, explain
    Read,
    /// The same, and watch the messages of actors
    Tap,
    /// All of it
    Write,
}

/// A token as `-o json` shows it.
#[derive(Serialize)]
struct View {
    name: String,
    role: &'static str,
    sha256: String,
    /// RFC 3339.
    expires: Option<String>,
    /// Absent when it is in a file.
    secret: Option<String>,
    file: Option<PathBuf>,
    /// What the nodes' tokens file gets.
    entry: String,
}

pub fn run(command: Command, global: &Global) -> Result<(), Failure> {
    let Command::New(args) = command;
    let secret = secret()?;
    let sha256 = Digest::of(secret.as_bytes()).hex().to_owned();
    let expires = args.expires.map(|after| moment(OffsetDateTime::now_utc(), after)).transpose()?;
    if let Some(file) = &args.out {
        write(file, &secret)?;
    }
    let role = match args.role {
        Role::Read => "read",
        Role::Tap => "tap",
        Role::Write => "write",
    };
    let name = args.name.unwrap_or_else(|| format!("{role}-{}", &sha256[..8]));
    let view = View {
        entry: entry(&name, role, &sha256, expires.as_deref()),
        name,
        role,
        sha256,
        expires,
        secret: args.out.is_none().then_some(secret),
        file: args.out,
    };
    if view.file.is_some() {
        global.output.note("the secret is in the file; this goes into the tokens file of each node:");
    }
    global.output.print(&view, |view| match &view.secret {
        Some(secret) => format!(
            "The secret, shown this once; keep it in a file and name that with --admin-token:\n\n{secret}\n\n\
             What goes into the file that each node has by --admin-tokens:\n\n{}",
            view.entry
        ),
        None => view.entry.clone(),
    })
}

fn secret() -> Result<String, Failure> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new("no-randomness", Ran::No, format!("the system gives no random bytes: {error}"))
    })?;
    // The beginning is for those who look for secrets that were published by mistake.
    Ok(format!("lat_{}", BASE64URL_NOPAD.encode(&bytes)))
}

/// The end of its time, in whole seconds.
fn moment(now: OffsetDateTime, after: Duration) -> Result<String, Failure> {
    let far = || {
        Failure::usage(
            "--expires: that is further away than dates go; leave it out for a token without an end",
        )
    };
    let after = time::Duration::try_from(after).map_err(|_| far())?;
    let end = now.checked_add(after).ok_or_else(far)?;
    end.replace_nanosecond(0).unwrap_or(end).format(&Rfc3339).map_err(|_| far())
}

fn entry(name: &str, role: &str, sha256: &str, expires: Option<&str>) -> String {
    let expires = expires.map(|expires| format!("expires = {expires}\n")).unwrap_or_default();
    format!("[[token]]\nname = \"{name}\"\nrole = \"{role}\"\nsha256 = \"{sha256}\"\n{expires}")
}

/// A new file: what stands in an old one may be a secret that somebody still uses.
fn write(file: &Path, secret: &str) -> Result<(), Failure> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut opened| writeln!(opened, "{secret}"));
    written.map_err(|error| {
        let message =
            format!("cannot write the secret to {}: {error}; name a new file with --out", file.display());
        Failure::new("io", Ran::No, message)
    })
}

fn name(text: &str) -> Result<String, &'static str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    match (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("use letters, digits, `-`, `_` and `.`, 64 characters at most"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_secrets_are_alike_and_each_is_one_word() {
        let (one, two) = (secret().unwrap(), secret().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), "lat_".len() + 43);
        assert!(one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{one}");
    }

    #[test]
    fn an_end_is_a_date_that_toml_can_hold() {
        let now = OffsetDateTime::from_unix_timestamp_nanos(1_798_761_600_123_456_789).unwrap();
        assert_eq!(moment(now, Duration::from_secs(86_400)).unwrap(), "2027-01-02T00:00:00Z");
        for far in [Duration::from_secs(86_400 * 366 * 9_000), Duration::MAX] {
            assert_eq!(moment(now, far).unwrap_err().kind, "usage");
        }
        let entry = entry("ci", "read", "00", Some("2027-01-02T00:00:00Z"));
        assert!(entry.ends_with("expires = 2027-01-02T00:00:00Z\n"), "{entry}");
    }
}
