//! Which topics a pattern stands for. Topics and patterns are read as NATS reads its subjects, so that its server sorts messages
//! by them.

use crate::id::{Topic, TopicPattern};

/// The longest topic or pattern, in bytes.
const LONGEST: usize = 128;

/// Stands for any one word.
const ANY: &str = "*";

/// Stands for all that follow, one word at least.
const REST: &str = ">";

pub(crate) fn is_topic(text: &str) -> bool {
    text.len() <= LONGEST && text.split('.').all(is_word)
}

pub(crate) fn is_pattern(text: &str) -> bool {
    let body = match text.strip_suffix(REST) {
        Some("") => return true,
        // What stands before it ends with a dot, or it would be a part of a word.
        Some(before) => before.strip_suffix('.'),
        None => Some(text),
    };
    let is_part = |part: &str| part == ANY || is_word(part);
    text.len() <= LONGEST && body.is_some_and(|body| body.split('.').all(is_part))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl TopicPattern {
    /// Whether it stands for this topic.
    ///
    /// ```
    /// use lattice_proto::{Topic, TopicPattern};
    /// let (pattern, topic): (TopicPattern, Topic) = ("stock.*.low".parse()?, "stock.tea.low".parse()?);
    /// assert!(pattern.matches(&topic));
    /// # Ok::<(), lattice_proto::id::Invalid>(())
    /// ```
    pub fn matches(&self, topic: &Topic) -> bool {
        // A topic is a pattern that stands for itself alone.
        meet(self.as_str(), topic.as_str())
    }

    /// Whether there is a topic that both stand for.
    pub fn meets(&self, other: &TopicPattern) -> bool {
        meet(self.as_str(), other.as_str())
    }
}

/// Whether two patterns stand for the same topic somewhere.
fn meet(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(REST), Some(_)) | (Some(_), Some(REST)) => return true,
            (Some(left), Some(right)) if left == right || left == ANY || right == ANY => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> TopicPattern {
        text.parse().unwrap()
    }

    #[test]
    fn topics_and_patterns_follow_their_rules() {
        let longest = "x".repeat(LONGEST);
        for good in ["a", "orders.created", "A.b-c.d_9", &longest] {
            assert!(good.parse::<Topic>().is_ok() && good.parse::<TopicPattern>().is_ok(), "{good}");
        }
        for pattern in [">", "*", "orders.>", "orders.*", "*.*.low", "stock.*.>"] {
            assert!(pattern.parse::<TopicPattern>().is_ok(), "{pattern}");
            assert!(pattern.parse::<Topic>().is_err(), "{pattern}");
        }
        let too_long = "x".repeat(LONGEST + 1);
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "ä",
            "a\n",
            "a/b",
            "$JS.API",
            "a=b",
            "a\0",
            "\u{202e}a",
            &too_long,
        ] {
            assert!(bad.parse::<Topic>().is_err() && bad.parse::<TopicPattern>().is_err(), "{bad:?}");
        }
        for bad in ["a>", "a.>b", ">.a", "a.>.b", "*a", "a*", "**", ".>", "a..>", ">>"] {
            assert!(bad.parse::<TopicPattern>().is_err(), "{bad}");
        }
        let error = "orders created".parse::<Topic>().unwrap_err().to_string();
        assert!(error.contains("`orders created`") && error.contains("`orders.created`"), "{error}");
    }

    #[test]
    fn patterns_stand_for_topics_as_subjects_of_nats_do() {
        let cases = [
            ("orders.created", "orders.created", true),
            ("orders.created", "orders.changed", false),
            ("orders.created", "orders.created.twice", false),
            ("orders.created", "orders", false),
            ("orders.*", "orders.created", true),
            ("orders.*", "orders", false),
            ("orders.*", "orders.a.b", false),
            ("orders.>", "orders", false),
            ("orders.>", "orders.a", true),
            ("orders.>", "orders.a.b.c", true),
            ("*.low", "stock.low", true),
            ("stock.*.low", "stock.tea.low", true),
            ("stock.*.low", "stock.tea.high", false),
            (">", "a", true),
            (">", "a.b", true),
        ];
        for (text, topic, matches) in cases {
            assert_eq!(pattern(text).matches(&topic.parse().unwrap()), matches, "{text} {topic}");
        }
    }

    #[test]
    fn patterns_that_share_a_topic_meet() {
        let cases = [
            ("a.*", "*.b", true),
            ("a.>", "a.b", true),
            ("a.>", "a", false),
            ("a.>", "*.*.c", true),
            ("a.b", "a.c", false),
            ("a.*", "a.*.c", false),
            (">", "a", true),
            ("*", "a.b", false),
        ];
        for (one, other, meets) in cases {
            assert_eq!(pattern(one).meets(&pattern(other)), meets, "{one} {other}");
            assert_eq!(pattern(other).meets(&pattern(one)), meets, "{other} {one}");
        }
    }

    proptest! {
        #[test]
        fn whatever_two_patterns_stand_for_makes_them_meet(
            one in "(a|b|\\*)(\\.(a|b|\\*)){0,3}(\\.>)?",
            other in "(a|b|\\*)(\\.(a|b|\\*)){0,3}(\\.>)?",
            topic in "(a|b)(\\.(a|b)){0,4}",
        ) {
            let (one, other, topic): (_, _, Topic) = (pattern(&one), pattern(&other), topic.parse().unwrap());
            prop_assert!(!(one.matches(&topic) && other.matches(&topic)) || one.meets(&other));
            prop_assert!(one.meets(&one));
        }

        #[test]
        fn no_text_panics(text in ".{0,140}") {
            if let Ok(topic) = text.parse::<Topic>() {
                prop_assert!(!topic.as_str().contains([' ', '*', '>', '\n']));
                prop_assert!(pattern(topic.as_str()).matches(&topic));
            }
            let _ = text.parse::<TopicPattern>();
        }
    }
}
