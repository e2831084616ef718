//! One field of a pattern: the numbers that fit it.

use crate::Error;

/// What a field counts.
pub struct Kind {
    name: &'static str,
    first: u8,
    last: u8,
    /// Names for the numbers from the first one on.
    names: &'static [&'static str],
}

pub const MINUTE: Kind = Kind { name: "minute", first: 0, last: 59, names: &[] };
pub const HOUR: Kind = Kind { name: "hour", first: 0, last: 23, names: &[] };
pub const DAY: Kind = Kind { name: "day", first: 1, last: 31, names: &[] };
pub const MONTH: Kind = Kind {
    name: "month",
    first: 1,
    last: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
pub const WEEKDAY: Kind = Kind {
    name: "day of the week",
    first: 0,
    last: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// The numbers that fit, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    bits: u64,
    /// Whether a `*` is in it, which says how the two fields of a day go together.
    pub star: bool,
}

impl Field {
    pub fn read(text: &str, kind: &Kind) -> Result<Self, Error> {
        let mut field = Field { bits: 0, star: text.contains('*') };
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (part, None),
            };
            let (first, last) = kind.range(range, step.is_some())?;
            let step = step.map_or(Ok(1), |step| kind.step(step))?;
            for number in (first..=last).step_by(step) {
                field.bits |= 1 << number;
            }
        }
        Ok(field)
    }

    pub fn has(self, number: u8) -> bool {
        number < 64 && self.bits & (1 << number) != 0
    }

    /// Takes one number for another.
    pub fn fold(&mut self, from: u8, to: u8) {
        if self.has(from) {
            self.bits = (self.bits & !(1 << from)) | 1 << to;
        }
    }
}

impl Kind {
    fn range(&self, text: &str, stepped: bool) -> Result<(u8, u8), Error> {
        if text == "*" {
            return Ok((self.first, self.last));
        }
        let Some((first, last)) = text.split_once('-') else {
            if stepped {
                return Err(Error(format!(
                    "a step follows a range or `*`, and not the {} `{text}`",
                    self.name
                )));
            }
            let number = self.number(text)?;
            return Ok((number, number));
        };
        let (first, last) = (self.number(first)?, self.number(last)?);
        if first > last {
            return Err(Error(format!("the range `{text}` of the {} ends before it begins", self.name)));
        }
        Ok((first, last))
    }

    fn number(&self, text: &str) -> Result<u8, Error> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(index) = named.and_then(|index| u8::try_from(index).ok()) {
            return Ok(self.first + index);
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error(format!("the {} `{text}` is no number", self.name)));
        }
        match text.parse() {
            Ok(number) if (self.first..=self.last).contains(&number) => Ok(number),
            _ => Err(Error(format!(
                "the {} `{text}` is not within {} to {}",
                self.name, self.first, self.last
            ))),
        }
    }

    fn step(&self, text: &str) -> Result<usize, Error> {
        match text.parse::<u8>() {
            Ok(step) if step > 0 => Ok(usize::from(step)),
            _ => Err(Error(format!("the step `{text}` of the {} is no number above 0", self.name))),
        }
    }
}
