//! Lists in pages. A token says of which list it is and after which entry to go on; nothing is kept for it here, so that
//! any node takes it, at any time.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

/// Entries of a page where the client does not say how many.
const USUAL: usize = 500;

/// Entries of a page at most.
const MOST: usize = 1_000;

/// A page is shorter than asked for when its entries would be larger than this in all: every client must be able to take
/// it. One entry is always given.
const MAX_BYTES: usize = 8 << 20;

/// The tokens that this version gives, and the only ones that it takes.
const VERSION: u32 = 1;

/// Why a page cannot be given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    /// Too many at once.
    #[error("page_size is {0}, and at most {MOST}; ask for the following pages with next_page_token")]
    Size(u32),
    /// Made by somebody else, or for another list.
    #[error(
        "the page_token is none of this list; begin without one, and give the next_page_token of each page as it is"
    )]
    Token,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    v: u32,
    list: String,
    after: String,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<K> {
    list: String,
    size: usize,
    after: Option<K>,
}

impl<K: FromStr + Display + Ord> Page<K> {
    /// Of the list of this name, as a request names it.
    pub(super) fn parse(list: &str, size: u32, token: &str) -> Result<Self, Invalid> {
        let size = match usize::try_from(size) {
            Ok(0) => USUAL,
            Ok(count) if count <= MOST => count,
            _ => return Err(Invalid::Size(size)),
        };
        let after = match token {
            "" => None,
            token => Some(last(list, token).ok_or(Invalid::Token)?),
        };
        Ok(Self { list: list.to_owned(), size, after })
    }

    /// The page of these entries, which are sorted by their keys, and the token of the next one.
    pub(super) fn cut<E, M: prost::Message>(
        self,
        entries: impl IntoIterator<Item = (K, E)>,
        mut describe: impl FnMut(E) -> M,
    ) -> (Vec<M>, String) {
        let (mut page, mut bytes) = (Vec::new(), 0);
        let mut last: Option<K> = None;
        let is_behind = |(key, _): &(K, E)| self.after.as_ref().is_none_or(|after| key > after);
        for (key, entry) in entries.into_iter().filter(is_behind) {
            let entry = describe(entry);
            bytes += entry.encoded_len();
            if let Some(last) = &last
                && (page.len() == self.size || bytes > MAX_BYTES)
            {
                return (page, token(&self.list, last));
            }
            page.push(entry);
            last = Some(key);
        }
        (page, String::new())
    }

    /// The same where entries are fetched one by one, and may be gone by then.
    pub(super) async fn fetch<E, M: prost::Message, Problem, Fetched>(
        self,
        entries: BTreeMap<K, E>,
        mut fetch: impl FnMut(E) -> Fetched,
    ) -> Result<(Vec<M>, String), Problem>
    where
        Fetched: Future<Output = Result<Option<M>, Problem>>,
    {
        let (mut page, mut bytes) = (Vec::new(), 0);
        let mut last: Option<K> = None;
        let is_behind = |(key, _): &(K, E)| self.after.as_ref().is_none_or(|after| key > after);
        for (key, entry) in entries.into_iter().filter(is_behind) {
            if let Some(last) = &last
                && (page.len() == self.size || bytes > MAX_BYTES)
            {
                return Ok((page, token(&self.list, last)));
            }
            if let Some(entry) = fetch(entry).await? {
                bytes += entry.encoded_len();
                page.push(entry);
            }
            last = Some(key);
        }
        Ok((page, String::new()))
    }
}

fn token(list: &str, after: &impl Display) -> String {
    let token = Token { v: VERSION, list: list.to_owned(), after: after.to_string() };
    // A plain struct of strings and a number, which JSON can always hold.
    BASE64URL_NOPAD.encode(&serde_json::to_vec(&token).unwrap_or_default())
}

fn last<K: FromStr>(list: &str, token: &str) -> Option<K> {
    let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
    let token: Token = serde_json::from_slice(&bytes).ok()?;
    if token.v != VERSION || token.list != list { None } else { token.after.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_proto::NodeName;
    use lattice_proto::admin::Placement;

    fn page<K: FromStr + Display + Ord + Clone>(keys: &[K], size: u32, token: &str) -> (Vec<String>, String) {
        let page = Page::<K>::parse("things", size, token).unwrap();
        let entry = |node: String| Placement { node, replicas: 1 };
        let (page, next) = page.cut(keys.iter().map(|key| (key.clone(), key.to_string())), entry);
        (page.into_iter().map(|entry| entry.node).collect(), next)
    }

    fn names(names: &[&str]) -> Vec<NodeName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn pages_follow_each_other_though_entries_come_and_go() {
        let (first, next) = page(&names(&["a", "b", "c", "d"]), 2, "");
        assert_eq!(first, ["a", "b"]);
        // The last one that was shown is gone, one came before it, and one behind it.
        let (second, next) = page(&names(&["a", "aa", "bb", "c", "d"]), 2, &next);
        assert_eq!(second, ["bb", "c"]);
        assert_eq!(page(&names(&["d"]), 2, &next), (vec!["d".to_owned()], String::new()));
    }

    #[test]
    fn a_full_page_is_the_last_one_when_nothing_follows() {
        assert_eq!(page(&names(&["a", "b"]), 2, "").1, "");
        assert_eq!(page::<NodeName>(&[], 2, ""), (Vec::new(), String::new()));
    }

    #[test]
    fn numbers_are_sorted_as_numbers() {
        let revisions: Vec<u64> = (1..=12).collect();
        let (first, next) = page(&revisions, 9, "");
        assert_eq!(first.last().unwrap(), "9");
        assert_eq!(page(&revisions, 9, &next).0, ["10", "11", "12"]);
    }

    #[test]
    fn large_entries_make_short_pages_and_each_comes() {
        let huge = "x".repeat(MAX_BYTES / 2 + 1);
        let entry = |_: ()| Placement { node: huge.clone(), replicas: 1 };
        let page = Page::<u64>::parse("things", 0, "").unwrap();
        let (first, next) = page.cut((1..=3).map(|key| (key, ())), entry);
        assert_eq!(first.len(), 1);
        let page = Page::<u64>::parse("things", 0, &next).unwrap();
        assert_eq!(page.after, Some(1));
    }

    #[test]
    fn what_is_no_token_of_this_list_is_refused() {
        let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let good = token("things", &7);
        assert_eq!(Page::<u64>::parse("things", 0, &good).unwrap().after, Some(7));
        for bad in [
            "garbage".to_owned(),
            "=".to_owned(),
            format!("{good}A"),
            encode("{}"),
            encode(r#"{"v":2,"list":"things","after":"7"}"#),
            encode(r#"{"v":1,"list":"others","after":"7"}"#),
            encode(r#"{"v":1,"list":"things","after":"seven"}"#),
            encode(r#"{"v":1,"list":"things","after":"7","more":1}"#),
        ] {
            assert_eq!(Page::<u64>::parse("things", 0, &bad), Err(Invalid::Token), "{bad}");
        }
        assert_eq!(Page::<u64>::parse("things", 1_001, ""), Err(Invalid::Size(1_001)));
    }
}
