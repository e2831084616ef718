//! Looks at an artifact before it may be deployed: is it a component, does it export a handler or what others can be linked to, does it
//! import only what can be granted or linked, and what does it say of itself.

use lattice_proto::MAX_ARTIFACT;
use lattice_proto::metadata::{self, Metadata};
use wasmparser::{Parser, Payload};
use wasmtime::component::{Component, InstancePre, Linker};

use super::runtime::Kind;
use super::{Guest, Links, abi, http};

/// Why an artifact cannot be deployed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The bytes are something else.
    #[error("it is no Wasm component: {0}")]
    NoComponent(String),
    /// A module where a component is needed.
    #[error(
        "it is a core Wasm module, not a component; build it for `wasm32-wasip2` (as `lattice build` does) or wrap it \
         with `wasm-tools component new`"
    )]
    Module,
    /// The exports are not those of an actor.
    #[error(
        "it exports no actor: expected `{}`, `{}`, `{}` or `{}`, for HTTP `wasi:http/incoming-handler@0.2` or \
         `wasi:http/handler@0.3`, or an interface of functions that others can be linked to, found {found}",
        abi::HANDLER,
        abi::BLOCKING_HANDLER,
        abi::KEYED_HANDLER,
        abi::BLOCKING_KEYED_HANDLER
    )]
    NoHandler {
        /// What it does export.
        found: String,
    },
    /// It handles messages in two ways.
    #[error("it exports both `{0}` and `{1}`; an actor is either replicated or keyed")]
    TwoHandlers(String, String),
    /// Its check cannot be asked.
    #[error("its export `{export}` {problem}")]
    Check {
        /// Its full name.
        export: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An import that no manifest can grant, or of the wrong shape.
    #[error("it imports `{import}`, which {reason}")]
    Import {
        /// Its full name.
        import: String,
        /// Why not.
        reason: String,
    },
    /// More for others than anybody could look at.
    #[error("it exports `{export}`, which has {reason}")]
    Export {
        /// Its full name.
        export: String,
        /// Why not.
        reason: String,
    },
    /// More than any artifact should have.
    #[error("it has {size} bytes; the limit is {limit} bytes")]
    TooLarge {
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// Its own description of itself is damaged.
    #[error("its metadata section is damaged: {0}")]
    Metadata(String),
}

/// What a manifest must grant before an artifact may run, as it imports that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Key-value stores.
    pub keyvalue: bool,
    /// Containers of objects.
    pub blobstore: bool,
}

/// How a guest handles a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// World `actor`: many at once, if the manifest allows it.
    Async,
    /// World `blocking-actor`: one after the other.
    Blocking,
    /// World `keyed-actor`: one instance for each key.
    Keyed,
    /// World `blocking-keyed-actor`.
    BlockingKeyed,
    /// What the standard says of HTTP; the export by which it is entered.
    Http(String),
    /// No messages at all: others are linked to what it exports, which is this and perhaps more.
    Exports(String),
}

impl Shape {
    /// In the order in which they are looked for.
    const ALL: [Self; 4] = [Self::Async, Self::Blocking, Self::Keyed, Self::BlockingKeyed];

    /// The interface that it exports.
    pub(super) fn interface(&self) -> &str {
        match self {
            Shape::Async => abi::HANDLER,
            Shape::Blocking => abi::BLOCKING_HANDLER,
            Shape::Keyed => abi::KEYED_HANDLER,
            Shape::BlockingKeyed => abi::BLOCKING_KEYED_HANDLER,
            Shape::Http(export) | Shape::Exports(export) => export,
        }
    }

    /// Whether others can be linked to what it exports besides.
    pub(super) fn has_exports(&self) -> bool {
        matches!(self, Shape::Async | Shape::Blocking | Shape::Exports(_))
    }

    pub(super) fn is_keyed(&self) -> bool {
        matches!(self, Shape::Keyed | Shape::BlockingKeyed)
    }
}

/// Tells what the bytes are, without compiling them.
pub(super) fn read_metadata(bytes: &[u8]) -> Result<Metadata, Refused> {
    if bytes.len() as u64 > MAX_ARTIFACT {
        return Err(Refused::TooLarge { size: bytes.len() as u64, limit: MAX_ARTIFACT });
    }
    if Parser::is_core_wasm(bytes) {
        return Err(Refused::Module);
    }
    if !Parser::is_component(bytes) {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).escape_debug().to_string();
        return Err(Refused::NoComponent(format!("its first bytes are `{start}`")));
    }
    let mut section = Vec::new();
    // The parser descends into nested modules by itself, which is where a toolchain leaves the section.
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::CustomSection(custom)) if custom.name() == metadata::SECTION => {
                section.extend_from_slice(custom.data());
                section.push(b'\n');
            }
            Ok(_) => {}
            Err(error) => return Err(Refused::NoComponent(error.to_string())),
        }
    }
    Metadata::parse(&section).map_err(|error| Refused::Metadata(error.to_string()))
}

/// On which runtime a component is likely to run, by the names of what it imports and exports: on the plain one, where it is entered by the
/// HTTP of WASI 0.2, and takes nothing of Lattice or of other actors.
pub(super) fn kind(bytes: &[u8]) -> Kind {
    let (mut depth, mut entered) = (0_usize, false);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            // The parser descends into what is nested, each of which has an end of its own.
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentImportSection(imports)) if depth == 0 => {
                let is_known = |name: &str| name.starts_with("wasi:") && !name.contains("@0.3.");
                if !imports.into_iter().flatten().all(|import| is_known(import.name.name)) {
                    return Kind::Full;
                }
            }
            Ok(Payload::ComponentExportSection(exports)) if depth == 0 => {
                for export in exports.into_iter().flatten() {
                    match export.name.name {
                        name if name.starts_with("wasi:http/incoming-handler@0.2.") => entered = true,
                        _ => return Kind::Full,
                    }
                }
            }
            _ => {}
        }
    }
    if entered { Kind::Plain } else { Kind::Full }
}

/// What must be granted to a compiled component.
pub(super) fn needs(engine: &wasmtime::Engine, component: &Component) -> Needs {
    let kind = component.component_type();
    let imports: Vec<&str> = kind.imports(engine).map(|(name, _)| name).collect();
    let imports = |package: &str| imports.iter().any(|name| name.starts_with(package));
    Needs { keyvalue: imports("wasi:keyvalue/"), blobstore: imports("wasi:blobstore/") }
}

/// Checks exports and imports of a compiled component, and links it.
pub(super) fn check(
    engine: &wasmtime::Engine,
    component: &Component,
    links: &Links,
    linker: &Linker<Guest>,
) -> Result<(Shape, InstancePre<Guest>), Refused> {
    let kind = component.component_type();
    let exports: Vec<String> = kind.exports(engine).map(|(name, _)| name.to_owned()).collect();
    let mut shapes =
        Shape::ALL.into_iter().filter(|shape| exports.iter().any(|name| name == shape.interface()));
    let http = || exports.iter().find(|name| http::is_handler(name)).cloned().map(Shape::Http);
    let linked = || {
        let mut found = links.exports.iter().filter(|(_, functions)| functions.values().any(Result::is_ok));
        found.next().map(|(name, _)| Shape::Exports(name.to_string()))
    };
    let Some(shape) = shapes.next().or_else(http).or_else(linked) else {
        let found = match exports.is_empty() {
            true => "nothing".to_owned(),
            false => exports.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        };
        return Err(Refused::NoHandler { found });
    };
    if let Some(other) = shapes.find(|other| other.is_keyed() != shape.is_keyed()) {
        return Err(Refused::TwoHandlers(shape.interface().to_owned(), other.interface().to_owned()));
    }
    // The linker holds everything that can be granted, so what it cannot resolve cannot be granted.
    for (name, _) in kind.imports(engine) {
        if name.starts_with("lattice:") && !name.starts_with("lattice:actor/") {
            let reason = "this version of Lattice cannot grant; remove the import".to_owned();
            return Err(Refused::Import { import: name.to_owned(), reason });
        }
        let granted = [
            "wasi:cli/",
            "wasi:io/",
            "wasi:clocks/",
            "wasi:random/",
            "wasi:filesystem/",
            "wasi:sockets/",
            "wasi:http/",
            "wasi:config/",
            "wasi:logging/",
            "wasi:keyvalue/",
            "wasi:blobstore/",
        ];
        if name.starts_with("wasi:") && !granted.iter().any(|prefix| name.starts_with(prefix)) {
            let reason = "the manifest does not grant, nor can it in this version of Lattice".to_owned();
            return Err(Refused::Import { import: name.to_owned(), reason });
        }
    }
    linker.instantiate_pre(component).map(|pre| (shape, pre)).map_err(|error| {
        let reason = format!("{error:#}");
        let import = reason.split('`').nth(1).unwrap_or("an import").to_owned();
        Refused::Import { import, reason: format!("does not fit what Lattice provides: {reason}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind of a component with these names, and with another one in it that imports much more.
    fn of(imports: &[&str], exports: &[&str]) -> Kind {
        let imports = imports.iter().enumerate();
        let imports: String =
            imports.map(|(n, name)| format!("(import \"{name}\" (instance $i{n}))\n")).collect();
        let exports: String =
            exports.iter().map(|name| format!("(export \"{name}\" (instance $own))\n")).collect();
        let inner = "(component (import \"lattice:actor/mesh@0.1.0\" (instance)) (core module))";
        let text = format!("(component {imports} {inner} (instance $own) {exports})");
        kind(&wat::parse_str(&text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    #[test]
    fn what_was_built_for_http_alone_before_there_was_async_is_plain() {
        let handler = "wasi:http/incoming-handler@0.2.3";
        let known = ["wasi:io/poll@0.2.0", "wasi:keyvalue/store@0.2.0-draft", "wasi:logging/logging"];
        assert_eq!(of(&known, &[handler]), Kind::Plain);
        assert_eq!(of(&[], &[handler]), Kind::Plain);
        for (imports, exports) in [
            (&["wasi:clocks/monotonic-clock@0.3.0"][..], &[handler][..]),
            (&["lattice:actor/blocking-mesh@0.1.0"], &[handler]),
            (&["acme:shop/pricing@1.0.0"], &[handler]),
            (&[], &[handler, "lattice:actor/check@0.1.0"]),
            (&[], &["wasi:http/handler@0.3.0"]),
            (&known, &[]),
        ] {
            assert_eq!(of(imports, exports), Kind::Full, "{imports:?} {exports:?}");
        }
        assert_eq!(kind(b"no component"), Kind::Full);
    }
}
