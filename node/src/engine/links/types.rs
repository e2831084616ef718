//! What values are, in a small description of our own: it is compared, told to people, and hashed. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// A function's type. Whether either side waits in a way of its own is not part of it: the same values cross.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// By name, in order.
    pub parameters: Vec<(String, Type)>,
    /// What it gives, if anything.
    pub result: Option<Type>,
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// One without parts, by its name in WIT.
    Plain(&'static str),
    /// Any number of the same.
    List(Box<Type>),
    /// One or none.
    Option(Box<Type>),
    /// What came of something, each with a value or without.
    Result(Option<Box<Type>>, Option<Box<Type>>),
    /// One of each.
    Tuple(Vec<Type>),
    /// One of each, by name.
    Record(Vec<(String, Type)>),
    /// One of them, each with a value or without.
    Variant(Vec<(String, Option<Type>)>),
    /// One of them.
    Enum(Vec<String>),
    /// Any of them.
    Flags(Vec<String>),
}

/// A type without parts.
#[cfg(test)]
pub(crate) fn plain(name: &'static str) -> Type {
    Type::Plain(name)
}

/// Differences that are told of one function. Whoever built against another interface altogether need not read all.
const MOST: usize = 8;

/// How much of a type is told of a difference, in characters.
const SHOWN: usize = 60;

impl Function {
    /// In what this one, as it is imported, is not the other one, as `there` exports it (who that is, as people are told it); a line each.
    pub fn differences(&self, other: &Self, there: &str) -> Vec<String> {
        if self == other {
            return Vec::new();
        }
        let mut comparison = Comparison { there, place: Vec::new(), found: Vec::new() };
        let (here, their) = (self.parameters.len(), other.parameters.len());
        if here != their {
            comparison.differ(&format!("{here} parameters"), &their.to_string());
        }
        for (number, (one, two)) in self.parameters.iter().zip(&other.parameters).enumerate() {
            comparison.at(format!("parameter {}", number + 1), |comparison| {
                if one.0 != two.0 {
                    comparison.differ(&format!("named `{}`", one.0), &format!("`{}`", two.0));
                }
                comparison.types(&one.1, &two.1);
            });
        }
        comparison.at("result".to_owned(), |comparison| {
            comparison.payloads(self.result.as_ref(), other.result.as_ref());
        });
        comparison.found
    }
}

/// Two types on their way to being told apart.
struct Comparison<'a> {
    there: &'a str,
    place: Vec<String>,
    found: Vec<String>,
}

impl Comparison<'_> {
    fn at(&mut self, place: String, compare: impl FnOnce(&mut Self)) {
        self.place.push(place);
        compare(self);
        self.place.pop();
    }

    fn differ(&mut self, here: &str, their: &str) {
        let colon = if self.place.is_empty() { "" } else { ": " };
        match self.found.len() {
            0..MOST => {
                let (place, there) = (self.place.join(", "), self.there);
                self.found.push(format!("{place}{colon}{here} here, {their} in {there}"));
            }
            MOST => self.found.push("and more".to_owned()),
            _ => {}
        }
    }

    fn types(&mut self, here: &Type, their: &Type) {
        // Enough is told.
        if self.found.len() > MOST {
            return;
        }
        match (here, their) {
            (Type::List(one), Type::List(two)) => self.at("element".to_owned(), |c| c.types(one, two)),
            (Type::Option(one), Type::Option(two)) => self.at("some".to_owned(), |c| c.types(one, two)),
            (Type::Result(ok, err), Type::Result(their_ok, their_err)) => {
                self.at("ok".to_owned(), |c| c.payloads(ok.as_deref(), their_ok.as_deref()));
                self.at("err".to_owned(), |c| c.payloads(err.as_deref(), their_err.as_deref()));
            }
            (Type::Tuple(one), Type::Tuple(two)) if one.len() == two.len() => {
                for (number, (one, two)) in one.iter().zip(two).enumerate() {
                    self.at(format!("element {}", number + 1), |c| c.types(one, two));
                }
            }
            (Type::Record(one), Type::Record(two)) => self.named("field", one, two, Self::types),
            (Type::Variant(one), Type::Variant(two)) => {
                self.named("case", one, two, |c, one, two| c.payloads(one.as_ref(), two.as_ref()));
            }
            (Type::Enum(one), Type::Enum(two)) => self.named("case", &bare(one), &bare(two), |_, (), ()| ()),
            (Type::Flags(one), Type::Flags(two)) => {
                self.named("flag", &bare(one), &bare(two), |_, (), ()| ())
            }
            _ if here == their => {}
            _ => self.differ(&shown(here), &shown(their)),
        }
    }

    fn payloads(&mut self, here: Option<&Type>, their: Option<&Type>) {
        match (here, their) {
            (Some(here), Some(their)) => self.types(here, their),
            (None, None) => {}
            (here, their) => {
                let shown = |one: Option<&Type>| one.map_or_else(|| "nothing".to_owned(), shown);
                self.differ(&shown(here), &shown(their));
            }
        }
    }

    /// Parts by name: which of them only one side has, and in what those differ that both have.
    fn named<'b, T>(
        &mut self,
        kind: &str,
        here: &'b [(String, T)],
        their: &'b [(String, T)],
        compare: impl Fn(&mut Self, &T, &T),
    ) {
        let by_name = |all: &'b [(String, T)]| all.iter().map(|(name, one)| (name.as_str(), one)).collect();
        let (ours, theirs): (BTreeMap<&str, &T>, BTreeMap<&str, &T>) = (by_name(here), by_name(their));
        for (name, one) in here {
            self.at(format!("{kind} `{name}`"), |c| match theirs.get(name.as_str()) {
                Some(two) => compare(c, one, two),
                None => c.differ("present", "missing"),
            });
        }
        for (name, _) in their.iter().filter(|(name, _)| !ours.contains_key(name.as_str())) {
            self.at(format!("{kind} `{name}`"), |c| c.differ("missing", "present"));
        }
        let names = |all: &[(String, T)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let (mut one, mut two) = (names(here), names(their));
        if one != two {
            let (here, their) = (format!("the {kind}s {}", one.join(", ")), two.join(", "));
            one.sort();
            two.sort();
            if one == two {
                self.differ(&cut(&here), &cut(&their));
            }
        }
    }
}

fn bare(names: &[String]) -> Vec<(String, ())> {
    names.iter().map(|name| (name.clone(), ())).collect()
}

fn shown(one: &Type) -> String {
    cut(&one.to_string())
}

fn cut(text: &str) -> String {
    match text.chars().count() > SHOWN {
        true => text.chars().take(SHOWN).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// As WIT has it. Types that differ never look the same: what is a name holds none of the marks between names.
impl Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("func(")?;
        let named = |f: &mut fmt::Formatter<'_>, (name, one): &(String, Type)| write!(f, "{name}: {one}");
        separated(f, &self.parameters, named)?;
        f.write_str(")")?;
        self.result.as_ref().map_or(Ok(()), |result| write!(f, " -> {result}"))
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |f: &mut fmt::Formatter<'_>, name: &String| f.write_str(name);
        match self {
            Type::Plain(name) => f.write_str(name),
            Type::List(element) => write!(f, "list<{element}>"),
            Type::Option(some) => write!(f, "option<{some}>"),
            Type::Result(None, None) => f.write_str("result"),
            Type::Result(Some(ok), None) => write!(f, "result<{ok}>"),
            Type::Result(None, Some(err)) => write!(f, "result<_, {err}>"),
            Type::Result(Some(ok), Some(err)) => write!(f, "result<{ok}, {err}>"),
            Type::Tuple(elements) => {
                f.write_str("tuple<")?;
                separated(f, elements, |f, element| write!(f, "{element}"))?;
                f.write_str(">")
            }
            Type::Record(fields) => {
                braced(f, "record", fields, |f, (name, field)| write!(f, "{name}: {field}"))
            }
            Type::Variant(cases) => braced(f, "variant", cases, |f, (name, payload)| match payload {
                Some(payload) => write!(f, "{name}({payload})"),
                None => f.write_str(name),
            }),
            Type::Enum(names) => braced(f, "enum", names, word),
            Type::Flags(names) => braced(f, "flags", names, word),
        }
    }
}

fn braced<T>(
    f: &mut fmt::Formatter<'_>,
    kind: &str,
    parts: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    write!(f, "{kind} {{ ")?;
    separated(f, parts, write)?;
    f.write_str(" }")
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    parts: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    parts.iter().enumerate().try_for_each(|(number, part)| {
        if number > 0 {
            f.write_str(", ")?;
        }
        write(f, part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<T: Clone>(parts: &[(&str, T)]) -> Vec<(String, T)> {
        parts.iter().map(|(name, part)| ((*name).to_owned(), part.clone())).collect()
    }

    fn words(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn of(parameter: Type) -> Function {
        Function { parameters: named(&[("what", parameter)]), result: None }
    }

    fn record(fields: &[(&str, Type)]) -> Type {
        Type::Record(named(fields))
    }

    #[test]
    fn a_function_reads_as_in_wit() {
        let order = record(&[("sku", plain("string")), ("amount", plain("u64"))]);
        let failure = Type::Variant(named(&[("unknown", None), ("short", Some(plain("u32")))]));
        let function = Function {
            parameters: named(&[
                ("order", order),
                ("hints", Type::List(Box::new(Type::Flags(words(&["a", "b"]))))),
            ]),
            result: Some(Type::Result(Some(Box::new(plain("u64"))), Some(Box::new(failure)))),
        };
        assert_eq!(
            function.to_string(),
            "func(order: record { sku: string, amount: u64 }, hints: list<flags { a, b }>) -> \
             result<u64, variant { unknown, short(u32) }>"
        );
        assert_eq!(Type::Result(None, Some(Box::new(plain("u8")))).to_string(), "result<_, u8>");
        assert_eq!(
            Type::Tuple(vec![plain("u8"), Type::Enum(words(&["a"]))]).to_string(),
            "tuple<u8, enum { a }>"
        );
        assert_eq!(function.differences(&function, "`pricing`"), Vec::<String>::new());
    }

    #[test]
    fn differences_are_named_with_their_place() {
        let amount = |kind| record(&[("sku", plain("string")), ("amount", plain(kind))]);
        let result =
            |ok: Option<Type>, err: Option<Type>| of(Type::Result(ok.map(Box::new), err.map(Box::new)));
        let table: [(Function, Function, &[&str]); 14] = [
            (
                of(amount("u32")),
                of(amount("u64")),
                &["parameter 1, field `amount`: u32 here, u64 in `pricing`"],
            ),
            (
                of(record(&[("a", plain("u8")), ("b", plain("u8"))])),
                of(record(&[("a", plain("u8")), ("c", plain("u8"))])),
                &[
                    "parameter 1, field `b`: present here, missing in `pricing`",
                    "parameter 1, field `c`: missing here, present in `pricing`",
                ],
            ),
            (
                of(record(&[("a", plain("u8")), ("b", plain("u8"))])),
                of(record(&[("b", plain("u8")), ("a", plain("u8"))])),
                &["parameter 1: the fields a, b here, b, a in `pricing`"],
            ),
            (
                of(Type::Variant(named(&[("off", None), ("on", Some(plain("u8")))]))),
                of(Type::Variant(named(&[("off", Some(plain("u8"))), ("on", None)]))),
                &[
                    "parameter 1, case `off`: nothing here, u8 in `pricing`",
                    "parameter 1, case `on`: u8 here, nothing in `pricing`",
                ],
            ),
            (
                of(Type::Enum(words(&["a", "b"]))),
                of(Type::Enum(words(&["a"]))),
                &["parameter 1, case `b`: present here, missing in `pricing`"],
            ),
            (
                of(Type::Flags(words(&["a"]))),
                of(Type::Flags(words(&["a", "b"]))),
                &["parameter 1, flag `b`: missing here, present in `pricing`"],
            ),
            (
                of(Type::List(Box::new(Type::Option(Box::new(plain("f32")))))),
                of(Type::List(Box::new(Type::Option(Box::new(plain("f64")))))),
                &["parameter 1, element, some: f32 here, f64 in `pricing`"],
            ),
            (
                of(Type::Tuple(vec![plain("u8"), plain("u8")])),
                of(Type::Tuple(vec![plain("u8"), plain("s8")])),
                &["parameter 1, element 2: u8 here, s8 in `pricing`"],
            ),
            (
                of(Type::Tuple(vec![plain("u8")])),
                of(Type::Tuple(vec![plain("u8"), plain("s8")])),
                &["parameter 1: tuple<u8> here, tuple<u8, s8> in `pricing`"],
            ),
            (
                result(Some(plain("u8")), None),
                result(None, Some(plain("string"))),
                &[
                    "parameter 1, ok: u8 here, nothing in `pricing`",
                    "parameter 1, err: nothing here, string in `pricing`",
                ],
            ),
            (of(plain("char")), of(plain("string")), &["parameter 1: char here, string in `pricing`"]),
            (
                Function { parameters: vec![], result: Some(plain("bool")) },
                Function { parameters: named(&[("a", plain("u8"))]), result: None },
                &["0 parameters here, 1 in `pricing`", "result: bool here, nothing in `pricing`"],
            ),
            (
                Function { parameters: named(&[("a", plain("u8"))]), result: None },
                Function { parameters: named(&[("b", plain("u8"))]), result: None },
                &["parameter 1: named `a` here, `b` in `pricing`"],
            ),
            (
                of(Type::Enum((0..40).map(|n| format!("a{n}")).collect())),
                of(plain("u8")),
                &[
                    "parameter 1: enum { a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12… here, u8 in `pricing`",
                ],
            ),
        ];
        for (here, there, wanted) in table {
            assert_eq!(here.differences(&there, "`pricing`"), wanted, "{here} {there}");
            assert!(!there.differences(&here, "`pricing`").is_empty(), "{here} {there}");
            assert_ne!(
                here.to_string(),
                there.to_string(),
                "nor are they taken for each other when a call comes"
            );
        }
        let many = of(Type::Enum((0..100).map(|n| format!("a{n}")).collect()));
        let told = many.differences(&of(Type::Enum(words(&["b"]))), "`pricing`");
        assert_eq!((told.len(), told.last().map(String::as_str)), (MOST + 1, Some("and more")));
    }
}
