//! Typed calls between components that know nothing of Lattice: which interfaces a component imports that are not the node's own, which it
//! exports, and how the values of their functions cross.
//!
//! 1. The guest of one actor calls a function that it imports. `capability::links` writes the arguments down ([`wave`]), and they go as any
//!    call does, with the name of the interface and a fingerprint of the function's type as the caller knows it.
//! 2. The other actor's instance finds its own function of that name ([`exports`]), makes sure that its type is the same, reads the
//!    arguments and enters the guest.
//! 3. Its result goes back the same way.
//!
//! What cannot cross, because it is no value, is found here ([`read`]) and refused at deploy.

pub(super) mod exports;
mod read;
pub(crate) mod room;
mod types;
pub(crate) mod wave;

use std::collections::BTreeMap;

use lattice_proto::envelope::Link;
use lattice_proto::{Digest, InterfaceName, Operation};

pub(super) use read::read;
pub use types::Function;
#[cfg(test)]
pub(crate) use types::{Type, plain};

/// What a component asks of others, and what it has for them.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// What it imports, less what the node itself provides.
    pub imports: BTreeMap<InterfaceName, BTreeMap<Operation, Sided>>,
    /// What it exports, less the standard's and Lattice's own.
    pub exports: BTreeMap<InterfaceName, BTreeMap<Operation, Export>>,
}

/// A function as one side has it.
#[derive(Debug, Clone)]
pub struct Sided {
    /// Its type.
    pub function: Function,
    /// Whether the component can do something else while this one waits.
    pub is_async: bool,
}

/// A function that a component exports; or why nobody can be linked to it.
pub type Export = Result<Sided, String>;

/// Interfaces that are named to people. Few bytes of an artifact can stand for very many.
const SHOWN: usize = 8;

impl Links {
    /// What it exports under the name by which somebody else imports it: just that version, or the latest that is compatible with it.
    pub fn export(&self, import: &InterfaceName) -> Option<(&InterfaceName, &BTreeMap<Operation, Export>)> {
        answering(&self.exports, import)
    }

    /// The names of what it exports, for people.
    pub fn exported(&self) -> String {
        shown(self.exports.keys()).unwrap_or_else(|| "nothing that others can import".to_owned())
    }

    /// A function that it imports and for which all of it stands still, if there is one.
    pub fn blocking_import(&self) -> Option<String> {
        let mut all = self.imports.iter().flat_map(|(interface, functions)| {
            functions.iter().map(move |(operation, one)| (interface, operation, one))
        });
        all.find(|(.., one)| !one.is_async).map(|(interface, operation, _)| named(interface, operation))
    }

    /// The same of what it exports.
    pub fn blocking_export(&self) -> Option<String> {
        let mut all = self.exports.iter().flat_map(|(interface, functions)| {
            functions.iter().map(move |(operation, one)| (interface, operation, one))
        });
        let blocks = |one: &Export| one.as_ref().is_ok_and(|one| !one.is_async);
        all.find(|(.., one)| blocks(one)).map(|(interface, operation, _)| named(interface, operation))
    }
}

/// The first of these names, for people; none where there are none.
pub fn shown<'a>(names: impl ExactSizeIterator<Item = &'a InterfaceName>) -> Option<String> {
    let more = names.len().saturating_sub(SHOWN);
    let first: Vec<_> = names.take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!first.is_empty()).then(|| first.join(", ") + &more)
}

/// Which of these answers what is imported under this name.
fn answering<'a, T>(
    all: &'a BTreeMap<InterfaceName, T>,
    import: &InterfaceName,
) -> Option<(&'a InterfaceName, &'a T)> {
    let compatible = || all.iter().filter(|(name, _)| name.is_compatible_with(import));
    all.get_key_value(import).or_else(|| compatible().max_by_key(|(name, _)| name.version()))
}

/// A function of an interface as people are told of it, such as `acme:shop/pricing.price`.
pub fn named(interface: &InterfaceName, operation: &Operation) -> String {
    format!("{}.{operation}", interface.base())
}

/// How a call says which function it is for.
pub(crate) fn aim(interface: &InterfaceName, function: &Function) -> Link {
    Link { interface: interface.clone(), fingerprint: fingerprint(function) }
}

/// What tells one type of a function from another.
fn fingerprint(function: &Function) -> Digest {
    Digest::of(function.to_string().as_bytes())
}
