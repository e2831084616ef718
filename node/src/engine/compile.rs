//! From an artifact's bytes to something that can be instantiated in microseconds.

use std::borrow::Cow;
use std::sync::Arc;

use lattice_proto::Digest;
use lattice_proto::metadata::Metadata;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};
use wasmtime_wasi_http::handler::ProxyPre;

use super::inspect::{self, Needs, Shape};
use super::links::exports::Exports;
use super::runtime::Kind;
use super::{Engine, Guest, Links, Refused, abi, check, http, links};
use crate::capability;

/// An artifact, compiled and linked. Cheap to clone.
#[derive(Clone)]
pub struct Compiled {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) engine: Engine,
    /// On which of its runtimes it runs.
    pub(super) kind: Kind,
    pub(super) pre: InstancePre<Guest>,
    pub(super) entry: Entry,
    pub(super) shape: Shape,
    /// Asked once of each instance, where the artifact has one.
    pub(super) check: Option<ComponentExportIndex>,
    pub(super) metadata: Metadata,
    pub(super) needs: Needs,
    /// What it imports from other actors and exports to them.
    pub(super) links: Arc<Links>,
    /// What of that is entered.
    pub(super) exports: Exports,
}

/// Where a guest is entered.
pub(super) enum Entry {
    /// For each message.
    Handle(ComponentExportIndex),
    /// Once for a key, and then for each message.
    Keyed { activate: ComponentExportIndex, turn: ComponentExportIndex },
    /// For each request.
    Http(ProxyPre<Guest>),
    /// Not at all by messages.
    Exports,
}

impl Engine {
    /// Whether [`Self::compile`] would find this artifact compiled.
    pub fn has_compiled(&self, digest: &Digest, bytes: &[u8]) -> bool {
        self.runtime(inspect::kind(bytes)).has(digest)
    }

    /// An artifact, compiled for the runtime on which it is to run. A name says nothing of what is deeper in a component: one that has
    /// async functions in it after all is refused by the plain runtime before anything is compiled, and runs on the full one.
    fn component(&self, digest: &Digest, bytes: &[u8]) -> wasmtime::Result<(Kind, Component)> {
        let full = || self.shared.full.component(digest, bytes).map(|component| (Kind::Full, component));
        match inspect::kind(bytes) {
            Kind::Full => full(),
            Kind::Plain => match self.shared.plain.component(digest, bytes) {
                Ok(component) => Ok((Kind::Plain, component)),
                Err(_) => full(),
            },
        }
    }

    /// Compiles an artifact, or loads what was compiled before.
    ///
    /// Takes as long as Cranelift does, up to seconds: run it where blocking is allowed.
    ///
    /// # Errors
    /// [`Refused`], with what is wrong and where.
    pub fn compile(&self, digest: &Digest, bytes: &[u8]) -> Result<Compiled, Refused> {
        let metadata = inspect::read_metadata(bytes)?;
        let component = self.component(digest, bytes);
        let (kind, component) = component.map_err(|error| Refused::NoComponent(format!("{error:#}")))?;
        let runtime = self.runtime(kind);
        let unfit = |error: wasmtime::Error| Refused::Import {
            import: "an import".to_owned(),
            reason: format!("does not fit what Lattice provides: {error:#}"),
        };
        let mut links = links::read(&runtime.engine, &component)?;
        let mut linker = Cow::Borrowed(&runtime.linker);
        if !links.imports.is_empty() {
            capability::define_links(linker.to_mut(), &links.imports, &self.shared.room).map_err(unfit)?;
        }
        let (shape, pre) = inspect::check(&runtime.engine, &component, &links, &linker)?;
        let check = check::find(&runtime.engine, &component)?;
        let interface = shape.interface();
        let function = |name: &str| {
            let parent = component.get_export_index(None, interface);
            let function = parent.and_then(|parent| component.get_export_index(Some(&parent), name));
            function.ok_or_else(|| Refused::NoHandler { found: format!("`{interface}` without `{name}`") })
        };
        let entry = match &shape {
            Shape::Async | Shape::Blocking => Entry::Handle(function(abi::HANDLE)?),
            Shape::Exports(_) => Entry::Exports,
            Shape::Keyed | Shape::BlockingKeyed => {
                Entry::Keyed { activate: function(abi::ACTIVATE)?, turn: function(abi::TURN)? }
            }
            Shape::Http(export) => {
                let entry = http::entry(pre.clone(), export);
                Entry::Http(
                    entry.map_err(|error| Refused::NoHandler { found: format!("`{export}`: {error:#}") })?,
                )
            }
        };
        let needs = inspect::needs(&runtime.engine, &component);
        // A key's turn commits what it did, and a request has an instance of its own: neither is entered by another way.
        if !shape.has_exports() {
            links.exports.clear();
        }
        let exports = Exports::find(&component, &links);
        let inner = Inner {
            engine: self.clone(),
            kind,
            pre,
            entry,
            shape,
            check,
            metadata,
            needs,
            links: Arc::new(links),
            exports,
        };
        Ok(Compiled { inner: Arc::new(inner) })
    }
}

impl Compiled {
    /// What the artifact says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.inner.metadata
    }

    /// What its manifest must grant.
    pub fn needs(&self) -> Needs {
        self.inner.needs
    }

    /// What it imports from other actors, and what others can be linked to.
    pub fn links(&self) -> &Arc<Links> {
        &self.inner.links
    }

    /// Whether it was built for HTTP, and takes no messages.
    pub fn is_http(&self) -> bool {
        matches!(self.inner.shape, Shape::Http(_))
    }

    /// Whether its guests run on the plain runtime, which knows of no tasks.
    pub(super) fn is_plain(&self) -> bool {
        self.inner.kind == Kind::Plain
    }

    /// Something by which all of an instance stands still, where that would run several messages at once; of what it imports, or of what it
    /// exports where it takes no other messages.
    pub fn blocks(&self) -> Option<String> {
        let links = &self.inner.links;
        let exports = || match self.inner.shape {
            Shape::Exports(_) => links.blocking_export(),
            _ => None,
        };
        if self.is_http() { None } else { links.blocking_import().or_else(exports) }
    }

    /// Whether it is a keyed actor.
    pub fn is_keyed(&self) -> bool {
        self.inner.shape.is_keyed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_async_functions_deep_in_it_runs_where_there_are_some() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::start(folder.path(), 8).unwrap();
        for (inner, wanted) in [
            ("(type (func))", Kind::Plain),
            ("(type (func async))", Kind::Full),
            ("(core func (canon waitable-set.new))", Kind::Full),
        ] {
            let text = format!(
                "(component (component {inner}) (instance $own) (export \"wasi:http/incoming-handler@0.2.0\" (instance $own)))"
            );
            let bytes = wat::parse_str(text).unwrap();
            assert_eq!(inspect::kind(&bytes), Kind::Plain);
            let digest = Digest::of(&bytes);
            // Compiled, and then loaded.
            for _ in 0..2 {
                assert_eq!(engine.component(&digest, &bytes).unwrap().0, wanted, "{inner}");
            }
            assert_eq!(engine.has_compiled(&digest, &bytes), wanted == Kind::Plain);
        }
    }
}
