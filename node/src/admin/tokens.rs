//! The tokens that a node knows: a TOML file with a name, a role and the digest of a secret for each.
//!
//! The secrets themselves are never stored. A secret is looked for by comparing its digest with all digests, in constant
//! time. Secrets are random (`lattice token new` makes them), so that a plain digest gives nothing away. Which method needs
//! which role is not known here.

mod file;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lattice_proto::Digest;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};
use toml::Spanned;
use toml::value::Datetime;

pub(super) use file::File;

/// More than anybody can tell apart; every one of them is compared at each request.
const MAX_TOKENS: usize = 1_000;

/// What a token lets its holder do; who may do more comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Look.
    Read,
    /// Look, and watch what actors are told and answer.
    Tap,
    /// Look and change, and call actors.
    Write,
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Tap => "tap",
            Role::Write => "write",
        }
    }
}

/// One token, without its secret.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) name: String,
    pub(super) role: Role,
    digest: Digest,
    expires: Option<OffsetDateTime>,
}

/// Why a secret lets nobody in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// No token has it.
    #[error(
        "this node knows no such token; make one with `lattice token new` and put its entry into the node's \
         --admin-tokens file"
    )]
    Unknown,
    /// It was good once.
    #[error(
        "the token `{name}` expired at {at}; get a new one (`lattice token new`) and put its entry into the \
         node's --admin-tokens file"
    )]
    Expired {
        /// The token's name.
        name: String,
        /// In RFC 3339.
        at: String,
    },
}

/// Why a tokens file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("--admin-tokens {file}{}: {reason}", line.map_or(String::new(), |line| format!(":{line}")))]
pub struct Error {
    /// As given.
    file: PathBuf,
    /// Counted from 1; none where the file as a whole is meant.
    line: Option<usize>,
    /// What is wrong there, and what is allowed.
    reason: String,
}

/// All tokens of a node.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<Token>);

impl Tokens {
    /// Reads the text of a tokens file.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub(super) fn parse(text: &str, file: &Path) -> Result<Self, Error> {
        let wrong = |at: usize, reason: String| {
            let line = 1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
            Error { file: file.to_owned(), line: Some(line), reason }
        };
        let source: Source = toml::from_str(text).map_err(|error| {
            let reason = error.message().lines().collect::<Vec<_>>().join(" ");
            wrong(error.span().map_or(0, |span| span.start), reason)
        })?;
        if source.token.len() > MAX_TOKENS {
            let reason = format!("a file has at most {MAX_TOKENS} tokens");
            return Err(wrong(source.token[MAX_TOKENS].name.span().start, reason));
        }
        let (mut names, mut digests) = (BTreeSet::new(), BTreeSet::new());
        let mut tokens = Vec::with_capacity(source.token.len());
        for entry in source.token {
            let name = entry.name.get_ref().clone();
            if !is_name(&name) {
                let rule = "name: use letters, digits, `-`, `_` and `.`, 64 characters at most";
                return Err(wrong(entry.name.span().start, rule.to_owned()));
            }
            if !names.insert(name.clone()) {
                let reason = format!("name: there is a token `{name}` already");
                return Err(wrong(entry.name.span().start, reason));
            }
            let digest: Digest =
                format!("sha256:{}", entry.sha256.get_ref().to_ascii_lowercase()).parse().map_err(|_| {
                    let rule = "sha256: expected the 64 hexadecimal digits that `lattice token new` prints";
                    wrong(entry.sha256.span().start, rule.to_owned())
                })?;
            if !digests.insert(digest.clone()) {
                let reason = "sha256: another token has this secret already".to_owned();
                return Err(wrong(entry.sha256.span().start, reason));
            }
            let expires = match entry.expires {
                None => None,
                Some(expires) => Some(moment(expires.get_ref()).ok_or_else(|| {
                    let rule =
                        "expires: expected a date and time with its offset, such as 2027-01-01T00:00:00Z";
                    wrong(expires.span().start, rule.to_owned())
                })?),
            };
            tokens.push(Token { name, role: entry.role, digest, expires });
        }
        Ok(Self(tokens))
    }

    /// The token with this secret, if it is still good.
    pub(super) fn admit(&self, secret: &[u8], now: OffsetDateTime) -> Result<&Token, Refusal> {
        let shown = Digest::of(secret);
        let mut found = None;
        // All are compared, so that the time taken tells nothing about which one comes close.
        for token in &self.0 {
            if bool::from(token.digest.hex().as_bytes().ct_eq(shown.hex().as_bytes())) {
                found = Some(token);
            }
        }
        let token = found.ok_or(Refusal::Unknown)?;
        match token.expires {
            Some(expires) if expires <= now => {
                let at = expires.format(&Rfc3339).unwrap_or_else(|_| expires.to_string());
                Err(Refusal::Expired { name: token.name.clone(), at })
            }
            _ => Ok(token),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    role: Role,
    sha256: Spanned<String>,
    expires: Option<Spanned<Datetime>>,
}

fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// A moment; a date or time that depends on where it is read is none.
fn moment(written: &Datetime) -> Option<OffsetDateTime> {
    let (date, clock) = (written.date?, written.time?);
    let offset = match written.offset? {
        toml::value::Offset::Z => UtcOffset::UTC,
        toml::value::Offset::Custom { minutes } => {
            UtcOffset::from_whole_seconds(i32::from(minutes) * 60).ok()?
        }
    };
    let month = Month::try_from(date.month).ok()?;
    let date = Date::from_calendar_date(i32::from(date.year), month, date.day).ok()?;
    let clock = Time::from_hms(clock.hour, clock.minute, clock.second.unwrap_or(0)).ok()?;
    Some(PrimitiveDateTime::new(date, clock).assume_offset(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, role: &str, secret: &str, more: &str) -> String {
        let digest = Digest::of(secret.as_bytes());
        format!("[[token]]\nname = \"{name}\"\nrole = \"{role}\"\nsha256 = \"{}\"\n{more}\n", digest.hex())
    }

    fn parse(text: &str) -> Result<Tokens, Error> {
        Tokens::parse(text, Path::new("tokens.toml"))
    }

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_798_761_600 + second).unwrap()
    }

    #[test]
    fn a_secret_finds_its_token_until_it_expires() {
        let text = entry("ci", "write", "one", "expires = 2027-01-01T01:00:00+01:00")
            + &entry("eyes", "read", "two", "");
        let tokens = parse(&text).unwrap();
        let ci = tokens.admit(b"one", at(-1)).unwrap();
        assert_eq!((ci.name.as_str(), ci.role), ("ci", Role::Write));
        assert_eq!(tokens.admit(b"two", at(i64::from(u32::MAX))).unwrap().role, Role::Read);
        for secret in [&b""[..], b"on", b"one ", b"three"] {
            assert_eq!(tokens.admit(secret, at(-1)).unwrap_err(), Refusal::Unknown);
        }
        let expired = tokens.admit(b"one", at(0)).unwrap_err().to_string();
        assert!(expired.contains("2027-01-01T01:00:00+01:00"), "{expired}");
        assert!(expired.contains("`ci`") && expired.contains("lattice token new"), "{expired}");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let good = entry("ci", "read", "one", "");
        let hex = Digest::of(b"x").hex().to_owned();
        let token = |lines: &str| format!("{good}[[token]]\n{lines}\n");
        let cases = [
            ("[[token]\n".to_owned(), 1, "array"),
            (token("name = \"ci\"\nrole = \"read\"\nsha256 = \"00\""), 7, "already"),
            (token("name = \"a b\"\nrole = \"read\"\nsha256 = \"00\""), 7, "letters"),
            (token("name = \"b\"\nrole = \"admin\"\nsha256 = \"00\""), 8, "`read`, `tap`, `write`"),
            (token("name = \"b\"\nrole = \"read\"\nsha256 = \"00\""), 9, "64 hexadecimal"),
            (token("name = \"b\"\nrole = \"read\""), 6, "missing field `sha256`"),
            (entry("b", "read", "x", "secret = \"x\""), 5, "unknown field `secret`"),
            (entry("a", "read", "x", "") + &entry("b", "read", "x", ""), 9, "another token"),
            (entry("b", "read", "x", "expires = 2027-01-01"), 5, "2027-01-01T00:00:00Z"),
            (entry("b", "read", "x", "expires = 2027-01-01T00:00:00"), 5, "offset"),
            (entry("b", "read", "x", "expires = \"tomorrow\""), 5, ""),
            (format!("[[token]]\nname = \"b\"\nrole = 3\nsha256 = \"{hex}\""), 3, ""),
        ];
        for (text, line, reason) in cases {
            let error = parse(&text).unwrap_err();
            assert_eq!(error.line, Some(line), "{error}\n{text}");
            let shown = error.to_string();
            assert!(shown.contains(reason) && !shown.contains('\n'), "{shown}");
            assert!(shown.starts_with("--admin-tokens tokens.toml:"), "{shown}");
        }
    }

    #[test]
    fn the_file_that_is_shipped_as_an_example_can_be_read() {
        assert_eq!(parse(include_str!("../../../deploy/tokens.toml")).unwrap().0.len(), 2);
    }

    #[test]
    fn a_file_without_tokens_lets_nobody_in() {
        assert_eq!(parse("").unwrap().admit(b"", at(0)).unwrap_err(), Refusal::Unknown);
    }
}
