//! Reads the interfaces of a compiled component, and finds what in them cannot cross.

use std::collections::BTreeMap;

use lattice_proto::{InterfaceName, Operation};
use wasmtime::component::types::{self, ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, Type as WasmType};

use super::types::{Function, Type};
use super::{Export, Links, Sided};
use crate::engine::Refused;

/// The namespaces of what the node itself provides and enters.
const OWN: [&str; 2] = ["wasi:", "lattice:"];

/// How deep types may be nested. The parser of values goes 100 deep, so that what was deployed can be called.
const MAX_DEPTH: usize = 64;

/// Functions, types within their types, and names in those, of a component that others call or answer: few bytes of an artifact can stand for
/// very many.
const MAX_TYPES: usize = 50_000;

/// A name counts once more for each of so many bytes that it has.
const NAME: usize = 32;

/// Fields, cases or flags of one type. A case is looked for among all that there are, for each value.
const MAX_PARTS: usize = 256;

/// What a component asks of others, and what it has for them.
///
/// # Errors
/// When something that it imports cannot be had from another actor, or it exports more than anybody could look at.
pub(in crate::engine) fn read(engine: &wasmtime::Engine, component: &Component) -> Result<Links, Refused> {
    let (kind, mut left) = (component.component_type(), MAX_TYPES);
    let mut links = Links::default();
    for (name, import) in kind.imports(engine).filter(|(name, _)| !is_own(name)) {
        let refused = |reason: String| Refused::Import { import: name.to_owned(), reason };
        let interface = match &import.ty {
            ComponentItem::ComponentInstance(interface) => interface,
            // What types its own functions have is for the component to know.
            ComponentItem::Type(_) => continue,
            ComponentItem::ComponentFunc(_) => {
                return Err(refused(
                    "is a function of the world itself; only the functions of an interface can be linked to another actor"
                        .to_owned(),
                ));
            }
            _ => {
                return Err(refused(
                    "is no interface, and only interfaces can be linked to another actor".to_owned(),
                ));
            }
        };
        let name: InterfaceName = name.parse().map_err(|_| {
            refused(
                "has no name of a package, such as `acme:shop/pricing`, of 256 characters at most, by which it could be linked"
                    .to_owned(),
            )
        })?;
        let functions = imports(engine, interface, &mut left).map_err(refused)?;
        // One of types only is what others are written in.
        if !functions.is_empty() {
            links.imports.insert(name, functions);
        }
    }
    for (export_name, export) in kind.exports(engine).filter(|(name, _)| !is_own(name)) {
        let ComponentItem::ComponentInstance(interface) = &export.ty else { continue };
        let Ok(name) = export_name.parse() else { continue };
        let refused = |reason| Refused::Export { export: export_name.to_owned(), reason };
        let functions = exports(engine, interface, &mut left).map_err(refused)?;
        if !functions.is_empty() {
            links.exports.insert(name, functions);
        }
    }
    Ok(links)
}

fn is_own(name: &str) -> bool {
    OWN.iter().any(|own| name.starts_with(own))
}

fn imports(
    engine: &wasmtime::Engine,
    interface: &ComponentInstance,
    left: &mut usize,
) -> Result<BTreeMap<Operation, Sided>, String> {
    let mut functions = BTreeMap::new();
    for (name, item) in interface.exports(engine) {
        spend(left, 1).map_err(|reason| format!("has {reason}"))?;
        match &item.ty {
            ComponentItem::ComponentFunc(func) => {
                let read = operation(name).and_then(|name| Ok((name, function(func, left)?)));
                let (operation, function) = read.map_err(|reason| {
                    format!("cannot be linked to another actor: its function `{name}` {reason}")
                })?;
                functions.insert(operation, Sided { function, is_async: func.async_() });
            }
            ComponentItem::Type(_) => {}
            ComponentItem::Resource(_) => {
                return Err(format!(
                    "cannot be linked to another actor: it has the resource `{name}`; {RESOURCE}"
                ));
            }
            _ => {
                return Err(format!(
                    "cannot be linked to another actor: its `{name}` is neither function nor type"
                ));
            }
        }
    }
    Ok(functions)
}

/// Functions that others may import. What cannot cross keeps nobody from using the rest; only what is too much does.
fn exports(
    engine: &wasmtime::Engine,
    interface: &ComponentInstance,
    left: &mut usize,
) -> Result<BTreeMap<Operation, Export>, String> {
    let mut functions = BTreeMap::new();
    for (name, item) in interface.exports(engine) {
        // Types too: one instance may be exported under any number of names.
        spend(left, 1)?;
        if let (ComponentItem::ComponentFunc(func), Ok(operation)) = (&item.ty, operation(name)) {
            let function = function(func, left);
            if *left == 0 {
                return Err(too_much());
            }
            let is_async = func.async_();
            functions.insert(operation, function.map(|function| Sided { function, is_async }));
        }
    }
    Ok(functions)
}

/// The operation that a function is; methods of resources have names that are none.
fn operation(name: &str) -> Result<Operation, String> {
    match name.strip_prefix('[') {
        Some(_) => Err(format!("belongs to a resource; {RESOURCE}")),
        None => name.parse().map_err(|_| "has a name of more than 128 characters".to_owned()),
    }
}

/// A function's type, or why it cannot be linked.
fn function(func: &ComponentFunc, left: &mut usize) -> Result<Function, String> {
    spend(left, 1)?;
    let mut parameters = Vec::new();
    for (name, kind) in func.params() {
        let name = named(name, left)?;
        let read = value(&kind, MAX_DEPTH, left).map_err(|reason| format!("takes {reason}"))?;
        parameters.push((name, read));
    }
    let result = func.results().next();
    let result = result.map(|kind| value(&kind, MAX_DEPTH, left)).transpose();
    Ok(Function { parameters, result: result.map_err(|reason| format!("gives {reason}"))? })
}

/// Counts something. Nothing is left where it is too much.
fn spend(left: &mut usize, count: usize) -> Result<(), String> {
    let enough = left.checked_sub(count);
    *left = enough.unwrap_or(0);
    enough.map(|_| ()).ok_or_else(too_much)
}

fn too_much() -> String {
    format!("one type too many: all together, with the names in them, are more than {MAX_TYPES}")
}

/// A name in a type.
fn named(name: &str, left: &mut usize) -> Result<String, String> {
    spend(left, 1 + name.len() / NAME)?;
    Ok(name.to_owned())
}

/// Names of which there are so many.
fn few(what: &str, count: usize) -> Result<(), String> {
    match count > MAX_PARTS {
        true => Err(format!("a type of {count} {what}; {MAX_PARTS} are the most that cross")),
        false => Ok(()),
    }
}

const RESOURCE: &str = "a resource stays in its component, and only values cross";

/// A type, or why its values cannot cross.
fn value(kind: &WasmType, depth: usize, left: &mut usize) -> Result<Type, String> {
    let Some(deeper) = depth.checked_sub(1) else {
        return Err(format!("a type of more than {MAX_DEPTH} types within each other"));
    };
    spend(left, 1)?;
    let mut inner = |kind: &WasmType| value(kind, deeper, left);
    Ok(match kind {
        WasmType::Bool => Type::Plain("bool"),
        WasmType::S8 => Type::Plain("s8"),
        WasmType::U8 => Type::Plain("u8"),
        WasmType::S16 => Type::Plain("s16"),
        WasmType::U16 => Type::Plain("u16"),
        WasmType::S32 => Type::Plain("s32"),
        WasmType::U32 => Type::Plain("u32"),
        WasmType::S64 => Type::Plain("s64"),
        WasmType::U64 => Type::Plain("u64"),
        WasmType::Float32 => Type::Plain("f32"),
        WasmType::Float64 => Type::Plain("f64"),
        WasmType::Char => Type::Plain("char"),
        WasmType::String => Type::Plain("string"),
        WasmType::List(list) => Type::List(Box::new(inner(&list.ty())?)),
        WasmType::Option(option) => Type::Option(Box::new(inner(&option.ty())?)),
        WasmType::Result(result) => {
            let mut payload =
                |kind: Option<WasmType>| kind.map(|kind| inner(&kind).map(Box::new)).transpose();
            Type::Result(payload(result.ok())?, payload(result.err())?)
        }
        WasmType::Tuple(tuple) => {
            Type::Tuple(tuple.types().map(|kind| inner(&kind)).collect::<Result<_, _>>()?)
        }
        WasmType::Record(record) => {
            few("fields", record.fields().len())?;
            let mut field =
                |field: types::Field<'_>| Ok((named(field.name, left)?, value(&field.ty, deeper, left)?));
            Type::Record(record.fields().map(&mut field).collect::<Result<_, String>>()?)
        }
        WasmType::Variant(variant) => {
            few("cases", variant.cases().len())?;
            let mut case = |case: types::Case<'_>| {
                let name = named(case.name, left)?;
                Ok((name, case.ty.map(|kind| value(&kind, deeper, left)).transpose()?))
            };
            Type::Variant(variant.cases().map(&mut case).collect::<Result<_, String>>()?)
        }
        WasmType::Enum(cases) => {
            few("cases", cases.names().len())?;
            Type::Enum(cases.names().map(|name| named(name, left)).collect::<Result<_, _>>()?)
        }
        WasmType::Flags(flags) => {
            few("flags", flags.names().len())?;
            Type::Flags(flags.names().map(|name| named(name, left)).collect::<Result<_, _>>()?)
        }
        WasmType::Own(_) | WasmType::Borrow(_) => return Err(format!("a resource; {RESOURCE}")),
        WasmType::Stream(_) => {
            return Err(
                "a stream, and only values cross; give a list, or call again for each part".to_owned()
            );
        }
        WasmType::Future(_) => {
            return Err("a future, and only values cross; make the function itself `async`".to_owned());
        }
        WasmType::ErrorContext => {
            return Err("an error-context, and only values cross; give a string".to_owned());
        }
        WasmType::Map(_) => {
            return Err(
                "a map, which this version of Lattice does not carry; use a list of tuples".to_owned()
            );
        }
        WasmType::FixedLengthList(_) => {
            return Err(
                "a list of fixed length, which this version of Lattice does not carry; use a tuple or a list"
                    .to_owned(),
            );
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;

    fn read_text(text: &str) -> Result<Links, Refused> {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::start(folder.path(), 8).unwrap();
        let engine = &engine.shared.full.engine;
        let component = Component::new(engine, wat::parse_str(text).unwrap()).unwrap();
        read(engine, &component)
    }

    /// A component that imports an interface of these items.
    fn importing(items: &str) -> String {
        format!("(component (import \"acme:shop/pricing@1.2.0\" (instance {items})))")
    }

    #[test]
    fn an_interface_of_functions_is_read_with_its_types() {
        let links = read_text(&importing(
            r#"(type $order' (record (field "sku" string) (field "amount" u64)))
               (export "order" (type $order (eq $order')))
               (export "price" (func (param "order" $order) (param "now" (option char)) (result (result u64 (error string)))))
               (export "ping" (func async))"#,
        ));
        let links = links.unwrap();
        let functions = &links.imports[&"acme:shop/pricing@1.2.0".parse::<InterfaceName>().unwrap()];
        let price = &functions[&"price".parse::<Operation>().unwrap()];
        assert_eq!(
            price.function.to_string(),
            "func(order: record { sku: string, amount: u64 }, now: option<char>) -> result<u64, string>"
        );
        let ping = &functions[&"ping".parse::<Operation>().unwrap()];
        assert_eq!(
            (ping.function.to_string().as_str(), price.is_async, ping.is_async),
            ("func()", false, true)
        );
        // Of the standard and of Lattice itself there is nothing to link; nor of what is there to be named only.
        let own = "(component (import \"wasi:cli/x@0.2.0\" (instance (export \"f\" (func)))) \
                   (import \"acme:shop/types\" (instance (type $t u8) (export \"t\" (type (eq $t))))))";
        assert!(read_text(own).unwrap().imports.is_empty());
    }

    #[test]
    fn what_cannot_cross_is_refused_with_the_reason() {
        let deep = (0..=MAX_DEPTH).fold("u8".to_owned(), |inner, _| format!("(list {inner})"));
        let deep = format!("(export \"f\" (func (param \"a\" {deep})))");
        let wide = (0..16).fold((String::new(), "u8".to_owned()), |(all, inner), n| {
            (format!("{all} (type $t{n} (tuple {inner} {inner}))"), format!("$t{n}"))
        });
        let wide =
            format!("{} (export \"t\" (type $t (eq $t15))) (export \"f\" (func (param \"a\" $t)))", wide.0);
        let items = |what: &str, kind: &str, count: usize| {
            let all: String = (0..count).map(|n| format!(" {}", what.replace('#', &n.to_string()))).collect();
            importing(&format!(
                "(type $of ({kind}{all})) (export \"t\" (type $t (eq $of))) (export \"f\" (func (param \"a\" $t)))"
            ))
        };
        let long = format!("\"a#-{}\"", "b".repeat(10_000));
        let table = [
            (items("(field \"a#\" (option u8))", "record", 257), "takes a type of 257 fields"),
            (items("(case \"a#\")", "variant", 257), "takes a type of 257 cases"),
            (items("\"a#\"", "enum", 257), "takes a type of 257 cases"),
            // Names are what most of a description is.
            (items(&long, "enum", 200), "one type too many"),
            (importing("(export \"cart\" (type (sub resource)))"), "it has the resource `cart`"),
            (
                importing("(export \"f\" (func (param \"a\" (stream u8))))"),
                "its function `f` takes a stream, and only values cross",
            ),
            (
                importing("(export \"f\" (func (result (list (future u8)))))"),
                "its function `f` gives a future, and only values cross",
            ),
            (importing(&deep), "more than 64 types within each other"),
            (importing(&wide), "one type too many"),
            ("(component (import \"price\" (func)))".to_owned(), "is a function of the world itself"),
            (
                "(component (import \"door\" (instance (export \"f\" (func)))))".to_owned(),
                "has no name of a package",
            ),
        ];
        for (text, reason) in table {
            let refused = read_text(&text).unwrap_err().to_string();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn more_exports_than_anybody_could_look_at_are_refused() {
        let functions: String = (0..300).map(|n| format!("(export \"f{n}\" (func $f))")).collect();
        let exports: String =
            (0..300).map(|n| format!("(export \"acme:shop/x{n}\" (instance $api))")).collect();
        let text = format!(
            r#"(component
                (core module $m (func (export "f")))
                (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i "f")))
                (instance $api {functions})
                {exports})"#
        );
        let refused = read_text(&text).unwrap_err().to_string();
        assert!(refused.contains("it exports `acme:shop/x") && refused.contains("too many"), "{refused}");
    }

    #[test]
    fn what_cannot_cross_keeps_nobody_from_the_rest() {
        let text = r#"(component
            (type $counter' (resource (rep i32)))
            (core module $m (func (export "f") (param i32)) (func (export "g")))
            (core instance $i (instantiate $m))
            (component $api
                (import "counter" (type $counter (sub resource)))
                (import "f" (func $f (param "a" (own $counter))))
                (import "g" (func $g))
                (export $shown "counter" (type $counter))
                (export "f" (func $f) (func (param "a" (own $shown))))
                (export "g" (func $g)))
            (func $f (param "a" (own $counter')) (canon lift (core func $i "f")))
            (func $g (canon lift (core func $i "g")))
            (instance $api (instantiate $api
                (with "counter" (type $counter')) (with "f" (func $f)) (with "g" (func $g))))
            (export "acme:shop/counters" (instance $api)))"#;
        let links = read_text(text).unwrap();
        let (_, functions) = links.export(&"acme:shop/counters".parse().unwrap()).unwrap();
        let of = |name: &str| functions[&name.parse::<Operation>().unwrap()].clone();
        assert!(of("f").unwrap_err().contains("takes a resource"));
        assert_eq!(of("g").unwrap().function.to_string(), "func()");
    }
}
