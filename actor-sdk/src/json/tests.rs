//! The rules of the parent module, as tables.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Arguments;
use crate::{CallError, Message, Result};

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Order {
    id: u32,
    total: u32,
}

fn message(payload: &str) -> Message {
    Message { operation: "op".into(), content_type: "application/json".into(), payload: payload.into() }
}

fn none(payload: &str) -> Result<()> {
    Arguments::read("op", &[], &message(payload)).map(drop)
}

fn one<T: serde::de::DeserializeOwned>(payload: &str) -> Result<T> {
    Arguments::read("op", &["p"], &message(payload))?.take(0)
}

fn two(payload: &str) -> Result<(String, Option<u32>)> {
    let message = message(payload);
    let mut arguments = Arguments::read("op", &["sku", "quantity"], &message)?;
    Ok((arguments.take(0)?, arguments.take(1)?))
}

fn written(request: super::Request) -> String {
    String::from_utf8(request.finish().expect("it is plain data")).expect("JSON is text")
}

fn problem<T: std::fmt::Debug>(outcome: Result<T>) -> String {
    match outcome {
        Err(CallError::Malformed(problem)) => problem,
        other => panic!("it was to be malformed, but is {other:?}"),
    }
}

#[test]
fn arguments_travel_by_name_in_any_order() {
    assert_eq!(two(r#"{"sku":"tea","quantity":2}"#), Ok(("tea".into(), Some(2))));
    assert_eq!(two(" { \"quantity\" : 2 , \"s\\u006bu\" : \"tea\" } "), Ok(("tea".into(), Some(2))));
    assert_eq!(two(r#"{"sku":"a \"b\" ü \u00fc"}"#), Ok((r#"a "b" ü ü"#.into(), None)));
    assert_eq!(two(r#"{"sku":"tea","quantity":null}"#), Ok(("tea".into(), None)));
}

#[test]
fn what_is_wrong_is_named() {
    for (payload, expected) in [
        ("{}", "op: argument `sku` is missing"),
        ("", "op: argument `sku` is missing"),
        ("null", "op: argument `sku` is missing"),
        (r#"{"sku":1}"#, "op: argument `sku`: invalid type: integer `1`, expected a string"),
        (
            r#"{"sku":"tea","quantity":-1}"#,
            "op: argument `quantity`: invalid value: integer `-1`, expected u32",
        ),
        (r#"{"sku":"tea","size":1}"#, "op: unknown argument `size`"),
        (r#"{"sku":"tea","sku":"cup"}"#, "op: argument `sku` is there twice"),
        (r#""tea""#, "op: invalid type: string \"tea\", expected an object with the arguments by name"),
        (r#"{"sku":"tea"} {}"#, "op: trailing characters"),
        (r#"{"sku":"#, "op: EOF while parsing a value"),
    ] {
        assert_eq!(problem(two(payload)), expected, "{payload}");
    }
}

#[test]
fn an_operation_without_parameters_takes_nothing() {
    for payload in ["", " ", "null", "{}", " { } "] {
        assert_eq!(none(payload), Ok(()), "{payload:?}");
    }
    assert_eq!(
        problem(none("1")),
        "op: it takes no arguments: invalid type: integer `1`, expected an object with the arguments by name"
    );
    assert_eq!(problem(none(r#"{"p":1}"#)), "op: it takes no arguments: unknown argument `p`");
}

#[test]
fn one_parameter_comes_bare_or_by_name() {
    for payload in [r#""Ada""#, r#"{"p":"Ada"}"#, " { \"p\" : \"Ada\" } "] {
        assert_eq!(one::<String>(payload), Ok("Ada".into()), "{payload}");
    }
    assert_eq!(one::<Vec<u8>>("[1,2]"), Ok(vec![1, 2]));
    assert_eq!(problem(one::<String>("1")), "op: argument `p`: invalid type: integer `1`, expected a string");
    assert_eq!(
        problem(one::<String>(r#"{"q":"Ada"}"#)),
        "op: argument `p`: invalid type: map, expected a string; by name it is {\"p\": …} and no field more, this object has `q`"
    );
    for payload in [r#"{"p":"Ada","q":1}"#, r#"{"q":1,"p":"Ada"}"#] {
        let problem = problem(one::<String>(payload));
        assert!(problem.ends_with("this object has `q`"), "{problem}");
    }
    assert_eq!(problem(one::<String>(r#"{"p":"Ada","p":"Eve"}"#)), "op: argument `p` is there twice");
    // One that is an object is told what it lacks, and no more.
    assert_eq!(problem(one::<Order>(r#"{"id":1}"#)), "op: argument `p`: missing field `total`");
    assert!(problem(one::<Order>(r#"{"p":{"id":1},"id":1}"#)).ends_with("this object has `id`"));
    assert_eq!(
        problem(one::<String>(r#"{"p":"Ada"} 1"#)),
        "op: argument `p`: invalid type: map, expected a string"
    );
    for payload in ["", "null", "{}"] {
        assert_eq!(problem(one::<String>(payload)), "op: argument `p` is missing", "{payload:?}");
        assert_eq!(one::<Option<String>>(payload), Ok(None), "{payload:?}");
    }
    assert_eq!(one::<Value>("null"), Ok(Value::Null));
    assert_eq!(one::<Value>("{}"), Ok(json!({})));
}

#[test]
fn one_parameter_that_is_an_object_is_never_mistaken_for_its_wrapper() {
    type Map = BTreeMap<String, Value>;
    let map = |value: Value| serde_json::from_value::<Map>(value).map_err(|_| ());
    for (payload, expected) in [
        ("{}", json!({})),
        (r#"{"a":1}"#, json!({ "a": 1 })),
        (r#"{"a":1,"p":2}"#, json!({ "a": 1, "p": 2 })),
        (r#"{"p":{"a":1}}"#, json!({ "a": 1 })),
        (r#"{"p":{"p":1}}"#, json!({ "p": 1 })),
        (r#"{"p":{}}"#, json!({})),
    ] {
        assert_eq!(one::<Map>(payload).map_err(|_| ()), map(expected), "{payload}");
    }
}

#[test]
fn what_clients_write_is_what_actors_read() {
    let value = BTreeMap::from([("p".to_owned(), 1)]);
    let payload = written(super::Request::new().add("p", &value));
    assert_eq!(one(&payload), Ok(value));

    let payload = written(super::Request::new().add("sku", "a \"b\"").add("quantity", &7));
    assert_eq!(two(&payload), Ok(("a \"b\"".into(), Some(7))));
}

#[test]
fn payloads_of_another_kind_are_refused() {
    let protobuf = Message { content_type: "application/protobuf".into(), ..message("{}") };
    let refused = Arguments::read("op", &[], &protobuf);
    assert_eq!(problem(refused), "op: it takes application/json, not application/protobuf");
}
