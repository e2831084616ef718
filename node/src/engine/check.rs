//! A guest's own check: whether the artifact has one, and what it answers. It never decides what becomes of an instance
//! that is not ready.
//!
//! A check runs outside of any turn: it has the manifest's `env`, the clocks and `log`. What it asks of `mesh` is
//! `denied`, as nobody's deadline and trace would go along.

use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, Instance};

use super::guest::Guest;
use super::instance::{explain, story};
use super::{Refused, abi};

/// A check that takes longer says no. As long as an instance may take to be made.
const ANSWER: Duration = Duration::from_secs(10);

/// How much of a check's text is told, in characters: it travels in records, events and errors.
const MAX_TEXT: usize = 1_000;

/// What a check gives.
type Said = (Result<(), String>,);

/// Finds the check of an artifact that has one.
pub(super) fn find(
    engine: &wasmtime::Engine,
    component: &Component,
) -> Result<Option<ComponentExportIndex>, Refused> {
    let kind = component.component_type();
    let mut found = None;
    for (name, export) in kind.exports(engine) {
        let Some(("lattice:actor/check" | "lattice:actor/blocking-check", _)) = name.split_once('@') else {
            continue;
        };
        let wrong = |problem: String| Refused::Check { export: name.to_owned(), problem };
        if name != abi::CHECK && name != abi::BLOCKING_CHECK {
            return Err(wrong("is of a version that this node does not know; build it for 0.1.0".to_owned()));
        }
        if found.is_some() {
            return Err(wrong("is its second check; export one of them".to_owned()));
        }
        let ComponentItem::ComponentInstance(interface) = export.ty else {
            return Err(wrong("is no interface".to_owned()));
        };
        let function = match interface.get_export(engine, abi::CHECK_FUNCTION).map(|function| function.ty) {
            Some(ComponentItem::ComponentFunc(function)) => function,
            _ => return Err(wrong(format!("lacks the function `{}`", abi::CHECK_FUNCTION))),
        };
        function.typecheck::<(), Said>(&kind.instance_type()).map_err(|error| {
            wrong(format!("must be `check: func() -> result<_, string>`, async or not: {error:#}"))
        })?;
        let parent = component.get_export_index(None, name);
        let index = parent.and_then(|parent| component.get_export_index(Some(&parent), abi::CHECK_FUNCTION));
        found = Some(index.ok_or_else(|| wrong(format!("lacks the function `{}`", abi::CHECK_FUNCTION)))?);
    }
    Ok(found)
}

/// Asks an instance that serves nobody yet. The store is of no use after an error.
pub(super) async fn ask(
    store: &mut Store<Guest>,
    instance: &Instance,
    check: ComponentExportIndex,
) -> Result<(), String> {
    let function = instance.get_func(&mut *store, check).ok_or("its own check is gone")?;
    let function = function
        .typed::<(), Said>(&*store)
        .map_err(|error| format!("its own check has another type than lattice:actor@0.1.0: {error:#}"))?;
    let answer = tokio::time::timeout(ANSWER, function.call_async(&mut *store, ())).await;
    match answer {
        Ok(Ok((Ok(()),))) => Ok(()),
        Ok(Ok((Err(text),))) => Err(format!("its own check failed: {}", shown(&text))),
        Ok(Err(error)) => {
            let (home, detail) = (&store.data().home, story(&error));
            tracing::warn!(actor = %home.actor, version = home.version, detail, "an actor's own check trapped");
            Err(format!("its own check trapped: {}", explain(&error, store)))
        }
        Err(_) => Err(format!("its own check did not answer within {} seconds", ANSWER.as_secs())),
    }
}

/// A guest's text as one line of bounded length.
fn shown(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "it gave no reason".to_owned();
    }
    let mut shown = String::new();
    for c in text.chars().take(MAX_TEXT) {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::super::{Compiled, Engine};
    use super::*;

    #[test]
    fn what_a_check_says_is_one_bounded_line() {
        assert_eq!(shown("the price list is empty\n"), "the price list is empty");
        assert_eq!(shown("a\nb\u{1b}[2J é"), "a\\nb\\u{1b}[2J é");
        assert_eq!(shown(" \n"), "it gave no reason");
        assert_eq!(shown(&"é".repeat(5_000)).chars().count(), MAX_TEXT);
    }

    fn compile(check: &str) -> Result<Compiled, Refused> {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::start(folder.path(), 8).unwrap();
        let text = format!(
            r#"(component
                (core module $m (func (export "f") (result i32) i32.const 0) (func (export "g")))
                (core instance $i (instantiate $m))
                (func $number (result u32) (canon lift (core func $i "f")))
                (func $nothing (canon lift (core func $i "g")))
                (instance $handler (export "handle" (func $nothing)))
                (export "lattice:actor/handler@0.1.0" (instance $handler))
                {check}
            )"#
        );
        let bytes = text.into_bytes();
        engine.compile(&lattice_proto::Digest::of(&bytes), &wat::parse_bytes(&bytes).unwrap())
    }

    #[test]
    fn a_check_of_another_shape_is_refused_with_what_is_wrong() {
        let export = |name: &str, what: &str| {
            format!(r#"(instance $c {what}) (export "lattice:actor/{name}" (instance $c))"#)
        };
        let table = [
            (export("check@0.1.0", ""), "lacks the function `check`"),
            (export("check@0.1.0", r#"(export "check" (func $number))"#), "result<_, string>"),
            (export("blocking-check@0.1.0", r#"(export "check" (func $nothing))"#), "result<_, string>"),
            (export("check@0.2.0", r#"(export "check" (func $nothing))"#), "version"),
            (r#"(export "lattice:actor/check@0.1.0" (func $nothing))"#.to_owned(), "is no interface"),
        ];
        for (check, words) in table {
            let refused = compile(&check).err().map(|refused| refused.to_string()).unwrap_or_default();
            assert!(refused.contains("lattice:actor/") && refused.contains(words), "{check}: {refused}");
        }
        assert!(compile("").is_ok());
    }
}
