//! Values of any type come out as they went in, and nothing that arrives can do harm.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use lattice_proto::InterfaceName;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use wasmtime::component::Component;

use super::super::room::{Held, Room};
use super::super::types::{Type as Described, plain};
use super::super::{Links, read};
use super::*;
use crate::engine::Engine;

/// One for all, as each reserves a pool.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    Engine::start(folder.path(), 8).unwrap()
});

const LIMIT: u64 = 16 << 20;

/// Names as WIT allows them, with all words that the encoding keeps for itself.
const NAMES: [&str; 14] = [
    "true",
    "false",
    "some",
    "none",
    "ok",
    "err",
    "inf",
    "nan",
    "a",
    "HTTP-2",
    "x1-2y",
    "long-name",
    "b",
    "Z",
];

/// The component model's own text of a type, after that of the types in it.
fn text_of(described: &Described, types: &mut Vec<String>) -> String {
    let mut inner = |described: &Described| text_of(described, types);
    let words = |names: &[String]| names.iter().map(|name| format!(" {name:?}")).collect::<String>();
    let named = match described {
        Described::Plain(name) => return (*name).to_owned(),
        Described::List(element) => return format!("(list {})", inner(element)),
        Described::Option(some) => return format!("(option {})", inner(some)),
        Described::Result(ok, err) => {
            let ok = ok.as_ref().map(|ok| format!(" {}", inner(ok))).unwrap_or_default();
            let err = err.as_ref().map(|err| format!(" (error {})", inner(err))).unwrap_or_default();
            return format!("(result{ok}{err})");
        }
        Described::Tuple(elements) => {
            let elements: Vec<_> = elements.iter().map(inner).collect();
            return format!("(tuple {})", elements.join(" "));
        }
        Described::Record(fields) => {
            let field = |(name, field): &(String, Described)| format!(" (field {name:?} {})", inner(field));
            format!("(record{})", fields.iter().map(field).collect::<String>())
        }
        Described::Variant(cases) => {
            let case = |(name, payload): &(String, Option<Described>)| {
                let payload = payload.as_ref().map(|payload| format!(" {}", inner(payload)));
                format!(" (case {name:?}{})", payload.unwrap_or_default())
            };
            format!("(variant{})", cases.iter().map(case).collect::<String>())
        }
        Described::Enum(names) => format!("(enum{})", words(names)),
        Described::Flags(names) => format!("(flags{})", words(names)),
    };
    let number = types.len();
    types.push(format!(
        "(type $of{number} {named}) (export \"t{number}\" (type $t{number} (eq $of{number})))"
    ));
    format!("$t{number}")
}

/// A function as it is read of a component that imports it, with all that is.
fn function(function: &Function) -> (Function, Links) {
    let mut types = Vec::new();
    let parameters = function.parameters.iter();
    let parameters: String =
        parameters.map(|(name, kind)| format!(" (param {name:?} {})", text_of(kind, &mut types))).collect();
    let result = function.result.as_ref().map(|kind| format!(" (result {})", text_of(kind, &mut types)));
    let text = format!(
        "(component (import \"a:b/c\" (instance {} (export \"f\" (func{parameters}{})))))",
        types.join(" "),
        result.unwrap_or_default()
    );
    let bytes = wat::parse_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let engine = &ENGINE.shared.full.engine;
    let component = Component::new(engine, bytes).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let links = read(engine, &component).unwrap();
    (links.imports[&"a:b/c".parse::<InterfaceName>().unwrap()][&operation()].function.clone(), links)
}

/// Reads as a node does, with room for all.
fn in_room<T: Send + 'static>(
    payload: &[u8],
    read: impl Fn(&[u8], &mut Share) -> Result<T, Unread> + Send + 'static,
) -> Result<T, Unread> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let payload = Bytes::copy_from_slice(payload);
    runtime.block_on(Room::default().read(payload, Held::Moment, read)).map(|(values, _)| values)
}

fn read_arguments(operation: &Operation, function: &Function, payload: &[u8]) -> Result<Vec<Val>, Unread> {
    let (operation, function) = (operation.clone(), function.clone());
    in_room(payload, move |payload, share| super::read_arguments(&operation, &function, payload, share))
}

fn read_result(function: &Function, payload: &[u8]) -> Result<Option<Val>, Unread> {
    let function = function.clone();
    in_room(payload, move |payload, share| super::read_result(&function, payload, share))
}

fn operation() -> Operation {
    "f".parse().unwrap()
}

/// One parameter and the same as result.
fn echo(kind: &Described) -> Function {
    Function { parameters: vec![("what".to_owned(), kind.clone())], result: Some(kind.clone()) }
}

fn names(most: usize) -> impl Strategy<Value = Vec<String>> {
    let some = subsequence(NAMES.as_slice(), 1..=most).prop_shuffle();
    some.prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn types() -> impl Strategy<Value = Described> {
    let plain = prop::sample::select(vec![
        "bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string",
    ])
    .prop_map(Described::Plain);
    let leaf = prop_oneof![
        4 => plain,
        1 => names(6).prop_map(Described::Enum),
        1 => names(14).prop_map(Described::Flags),
    ];
    leaf.prop_recursive(5, 32, 4, |inner| {
        let maybe = || prop::option::of(inner.clone());
        let boxed = |one: Option<Described>| one.map(Box::new);
        let several = prop::collection::vec(inner.clone(), 1..4);
        let perhaps = prop::collection::vec(maybe(), 1..4);
        prop_oneof![
            inner.clone().prop_map(|one| Described::List(Box::new(one))),
            inner.clone().prop_map(|one| Described::Option(Box::new(one))),
            (maybe(), maybe()).prop_map(move |(ok, err)| Described::Result(boxed(ok), boxed(err))),
            several.clone().prop_map(Described::Tuple),
            (several, names(4))
                .prop_map(|(all, names)| Described::Record(names.into_iter().zip(all).collect())),
            (perhaps, names(4))
                .prop_map(|(all, names)| Described::Variant(names.into_iter().zip(all).collect())),
        ]
    })
}

/// Any value of a type, and its bounds more often than they would come.
fn values(kind: &Described) -> BoxedStrategy<Val> {
    macro_rules! number {
        ($of:ty, $val:path) => {
            prop_oneof![Just(<$of>::MIN), Just(<$of>::MAX), any::<$of>()].prop_map($val).boxed()
        };
    }
    let boxed = |kind: &Option<Box<Described>>| match kind {
        None => Just(None).boxed(),
        Some(kind) => values(kind).prop_map(|value| Some(Box::new(value))).boxed(),
    };
    match kind {
        Described::Plain("bool") => any::<bool>().prop_map(Val::Bool).boxed(),
        Described::Plain("s8") => number!(i8, Val::S8),
        Described::Plain("u8") => number!(u8, Val::U8),
        Described::Plain("s16") => number!(i16, Val::S16),
        Described::Plain("u16") => number!(u16, Val::U16),
        Described::Plain("s32") => number!(i32, Val::S32),
        Described::Plain("u32") => number!(u32, Val::U32),
        Described::Plain("s64") => number!(i64, Val::S64),
        Described::Plain("u64") => number!(u64, Val::U64),
        Described::Plain("f32") => {
            let odd =
                [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MIN, f32::MAX, f32::MIN_POSITIVE];
            let bits = any::<u32>().prop_map(f32::from_bits);
            prop_oneof![prop::sample::select(odd.to_vec()), bits].prop_map(Val::Float32).boxed()
        }
        Described::Plain("f64") => {
            let odd =
                [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN, f64::MAX, f64::MIN_POSITIVE];
            let bits = any::<u64>().prop_map(f64::from_bits);
            prop_oneof![prop::sample::select(odd.to_vec()), bits].prop_map(Val::Float64).boxed()
        }
        Described::Plain("char") => any::<char>().prop_map(Val::Char).boxed(),
        Described::Plain(_) => {
            let text = prop::collection::vec(any::<char>(), 0..20);
            text.prop_map(|text| Val::String(text.into_iter().collect())).boxed()
        }
        Described::List(element) => prop::collection::vec(values(element), 0..4).prop_map(Val::List).boxed(),
        Described::Option(some) => boxed(&Some(some.clone()))
            .prop_flat_map(|some| prop_oneof![Just(None), Just(some)])
            .prop_map(Val::Option)
            .boxed(),
        Described::Result(ok, err) => {
            let ok = boxed(ok).prop_map(|ok| Val::Result(Ok(ok)));
            prop_oneof![ok, boxed(err).prop_map(|err| Val::Result(Err(err)))].boxed()
        }
        Described::Tuple(elements) => {
            elements.iter().map(values).collect::<Vec<_>>().prop_map(Val::Tuple).boxed()
        }
        Described::Record(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, kind)| (Just(name.clone()), values(kind))).collect();
            fields.prop_map(Val::Record).boxed()
        }
        Described::Variant(cases) => {
            let case = |(name, payload): &(String, Option<Described>)| {
                let name = name.clone();
                let payload = boxed(&payload.clone().map(Box::new));
                payload.prop_map(move |payload| Val::Variant(name.clone(), payload)).boxed()
            };
            let cases: Vec<_> = cases.iter().map(case).collect();
            any::<Index>().prop_flat_map(move |index| index.get(&cases).clone()).boxed()
        }
        Described::Enum(names) => prop::sample::select(names.clone()).prop_map(Val::Enum).boxed(),
        Described::Flags(names) => {
            // Which are set is what counts, in whatever order they are told.
            let sorted = |mut set: Vec<String>| {
                set.sort();
                Val::Flags(set)
            };
            subsequence(names.clone(), 0..=names.len()).prop_map(sorted).boxed()
        }
    }
}

/// There and back, as arguments and as result.
fn crosses(function: &Function, value: &Val) {
    let payload = arguments(&operation(), std::slice::from_ref(value), LIMIT).unwrap();
    let shown = String::from_utf8_lossy(&payload);
    let read = read_arguments(&operation(), function, &payload);
    assert_eq!(read.as_deref(), Ok(std::slice::from_ref(value)), "{shown}");
    let payload = written_result(std::slice::from_ref(value), LIMIT).unwrap();
    assert_eq!(read_result(function, &payload), Ok(Some(value.clone())), "{shown}");
}

proptest! {
    #[test]
    fn values_of_any_type_come_out_as_they_went_in(
        (kind, value) in types().prop_flat_map(|kind| (Just(kind.clone()), values(&kind)))
    ) {
        let (found, links) = function(&echo(&kind));
        let interface: InterfaceName = "a:b/c".parse().unwrap();
        let expected = BTreeMap::from([(operation(), echo(&kind))]);
        let read: BTreeMap<_, _> =
            links.imports[&interface].iter().map(|(name, import)| (name.clone(), import.function.clone())).collect();
        prop_assert_eq!(read, expected, "a type is read as it is");
        crosses(&found, &value);
    }

    #[test]
    fn no_text_does_harm(
        kind in types(), text in prop_oneof!["\\PC{0,60}", "[-\\[\\](){}:,\"'%a-c0-9\\\\]{0,60}"]
    ) {
        let (found, _) = function(&echo(&kind));
        for text in [text.clone(), format!("f({text}"), format!("f({text})")] {
            let _ = read_arguments(&operation(), &found, text.as_bytes());
            let _ = read_result(&found, text.as_bytes());
        }
    }

    #[test]
    fn no_damaged_value_does_harm(
        (kind, value) in types().prop_flat_map(|kind| (Just(kind.clone()), values(&kind))),
        at in any::<Index>(), byte in any::<u8>(),
    ) {
        let (found, _) = function(&echo(&kind));
        let mut payload = arguments(&operation(), &[value], LIMIT).unwrap().to_vec();
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = read_arguments(&operation(), &found, &payload);
        let _ = read_arguments(&operation(), &found, &payload[..at]);
    }
}

#[test]
fn every_character_crosses() {
    let (one, _) = function(&echo(&plain("char")));
    let (many, _) = function(&echo(&plain("string")));
    for c in ('\0'..=char::MAX).filter(|c| u32::from(*c) < 0x3000 || u32::from(*c) % 97 == 0) {
        crosses(&one, &Val::Char(c));
        crosses(&many, &Val::String(format!("{c}{c}\u{301}\"\"\"{c}//")));
    }
    crosses(&many, &Val::String(String::new()));
}

#[test]
fn functions_with_no_parameters_or_many_and_with_no_result() {
    let (none, _) = function(&Function { parameters: vec![], result: None });
    let payload = arguments(&operation(), &[], LIMIT).unwrap();
    assert_eq!((&*payload, read_arguments(&operation(), &none, &payload)), (&b"f()"[..], Ok(vec![])));
    assert_eq!(written_result(&[], LIMIT).unwrap(), Bytes::new());
    assert_eq!(read_result(&none, b""), Ok(None));
    assert!(read_result(&none, b"3").is_err());

    let of = |name: &str, kind: Described| (name.to_owned(), kind);
    let maybe = Described::Option(Box::new(Described::Option(Box::new(plain("u8")))));
    let parameters = vec![of("a", plain("u8")), of("b", maybe.clone()), of("c", maybe)];
    let (several, _) = function(&Function { parameters, result: None });
    let some = |value| Val::Option(Some(Box::new(value)));
    for values in [
        [Val::U8(1), Val::Option(None), Val::Option(None)],
        [Val::U8(1), some(Val::Option(None)), some(some(Val::U8(2)))],
    ] {
        let payload = arguments(&operation(), &values, LIMIT).unwrap();
        assert_eq!(read_arguments(&operation(), &several, &payload).as_deref(), Ok(&values[..]));
    }
    for wrong in
        ["f(1, none, none, 2)", "f()", "g(1, none, none)", "f(1, none, none) f", "f(256, none, none)", "(1)"]
    {
        let unread = read_arguments(&operation(), &several, wrong.as_bytes()).unwrap_err();
        assert!(matches!(unread, Unread::Malformed(_)), "{wrong}: {unread:?}");
    }
}

#[test]
fn what_is_nested_without_end_or_very_long_is_an_error_and_no_overflow() {
    let deep = 100_000;
    let (list, _) = function(&echo(&Described::List(Box::new(plain("string")))));
    for open in
        ["(", "[", "{a:", "{", "some(", "ok(", "err(", "v(", "\"", "'", "-", "%", "/", "\\", "\"\"\"", "a-"]
    {
        for text in [
            format!("f({}", open.repeat(deep)),
            open.repeat(deep),
            format!("f({}0{}", open.repeat(deep), ")".repeat(deep)),
        ] {
            let unread = read_arguments(&operation(), &list, text.as_bytes()).unwrap_err();
            assert!(matches!(&unread, Unread::Malformed(told) if told.len() < 2_000), "{open}: {unread:?}");
            assert!(read_result(&list, text.as_bytes()).is_err(), "{open}");
        }
    }
    // Long tokens are read in a loop, however the parser was compiled.
    let (text, _) = function(&echo(&plain("string")));
    crosses(&text, &Val::String("é\n\"".repeat(1 << 20)));
    let (number, _) = function(&echo(&plain("f64")));
    let zeros = format!("0.{}1", "0".repeat(4 << 20));
    assert_eq!(read_result(&number, zeros.as_bytes()), Ok(Some(Val::Float64(0.0))));
    let comment = format!("// {}\n{}1.5", "/".repeat(4 << 20), " \n".repeat(4 << 20));
    assert_eq!(read_result(&number, comment.as_bytes()), Ok(Some(Val::Float64(1.5))));
    let unread = read_result(&number, "a".repeat(4 << 20).as_bytes()).unwrap_err();
    assert!(unread.of_reply().len() < 2_000);
}

#[test]
fn what_is_too_long_is_told_before_it_is_written_down() {
    let (bytes, _) = function(&echo(&Described::List(Box::new(plain("u8")))));
    let value = Val::List(vec![Val::U8(7); 100]);
    let written = arguments(&operation(), std::slice::from_ref(&value), LIMIT).unwrap();
    crosses(&bytes, &value);
    let limit = written.len() as u64 - 1;
    let fault = arguments(&operation(), std::slice::from_ref(&value), limit).unwrap_err();
    assert!(matches!(fault, Fault::TooLarge { ran: Ran::No, size, .. } if size > limit), "{fault}");
    let fault = written_result(&[value], 10).unwrap_err();
    assert!(matches!(fault, Fault::TooLarge { limit: 10, ran: Ran::Yes, .. }), "{fault}");
}

#[test]
fn what_is_left_out_of_the_text_takes_memory_all_the_same() {
    let empty = Val::Record((0..20).map(|n| (format!("field-{n}"), Val::Option(None))).collect());
    let values = [Val::List(vec![empty; 100])];
    let text = arguments(&operation(), &values, LIMIT).unwrap();
    assert!(
        text.len() < 1_000 && held(&values[0]) > 100 * 20 * size_of::<Val>(),
        "{} {}",
        text.len(),
        held(&values[0])
    );
    let nested = Val::Variant(
        "on".to_owned(),
        Some(Box::new(Val::Tuple(vec![Val::String("abc".to_owned()), Val::U8(1)]))),
    );
    assert_eq!(held(&nested), 4 * size_of::<Val>() + 5);
}

#[test]
fn bytes_that_are_no_text_are_an_error() {
    let (text, _) = function(&echo(&plain("string")));
    assert!(matches!(read_result(&text, b"\"\xff\""), Err(Unread::Malformed(_))));
}

#[test]
fn few_bytes_that_stand_for_very_many_values_have_no_room() {
    let field = |n| (format!("field-{n}"), Described::Option(Box::new(plain("u8"))));
    let wide = Described::Record((0..256).map(field).collect());
    let (list, _) = function(&echo(&Described::List(Box::new(wide))));
    let text = |count: usize| format!("[{}]", "{:},".repeat(count));
    let some = read_result(&list, text(1_000).as_bytes()).unwrap();
    assert!(matches!(&some, Some(Val::List(all)) if all.len() == 1_000));
    for count in [8_000, 200_000] {
        assert!(matches!(read_result(&list, text(count).as_bytes()), Err(Unread::TooLarge(_))), "{count}");
        let call = format!("f({})", text(count));
        let unread = read_arguments(&operation(), &list, call.as_bytes()).unwrap_err();
        assert!(matches!(unread.of_arguments("f"), Fault::TooLarge { ran: Ran::No, .. }), "{count}");
    }
}

#[test]
fn what_the_type_does_not_have_is_an_error() {
    let record = Described::Record(vec![("a".to_owned(), plain("u8"))]);
    let (record, _) = function(&echo(&record));
    let (tuple, _) = function(&echo(&Described::Tuple(vec![plain("u8"), plain("u8")])));
    let (one, _) = function(&echo(&Described::Enum(vec!["a".to_owned()])));
    let (flags, _) = function(&echo(&Described::Flags(vec!["a".to_owned()])));
    let cases = vec![("a".to_owned(), None), ("b".to_owned(), Some(plain("u8")))];
    let (variant, _) = function(&echo(&Described::Variant(cases)));
    for (kind, text) in [
        (&record, "{b: 1}"),
        (&record, "{:}"),
        (&record, "{a: 1, b: 2}"),
        (&tuple, "(1)"),
        (&tuple, "(1, 2, 3)"),
        (&one, "b"),
        (&flags, "{b}"),
        (&variant, "c"),
        (&variant, "a(1)"),
        (&variant, "b"),
    ] {
        let read = read_result(kind, text.as_bytes());
        assert!(matches!(read, Err(Unread::Malformed(_))), "{text}: {read:?}");
    }
}
