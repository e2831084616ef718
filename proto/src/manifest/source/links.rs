//! `links = { "acme:shop/pricing" = "pricing" }`: who answers the interfaces that an actor imports.

use std::collections::BTreeMap;

use toml::Spanned;

use super::{Error, Text};
use crate::id::ActorName;
use crate::interface::InterfaceName;
use crate::manifest::bound;

/// The namespaces of what the node itself provides, where the manifest grants it.
const OWN: [&str; 2] = ["wasi", "lattice"];

pub(super) fn parse(
    at: &Text<'_>,
    field: &str,
    source: &BTreeMap<Spanned<String>, Spanned<String>>,
) -> Result<BTreeMap<InterfaceName, ActorName>, Error> {
    let mut links = BTreeMap::new();
    for (name, actor) in source {
        let interface: InterfaceName = at.parsed(field, name)?;
        if OWN.contains(&interface.namespace()) {
            let message = format!(
                "the node itself provides `{interface}`, as `grants` and `config` say; expected an interface of a package of \
                 your own"
            );
            return Err(at.error(field, name, message));
        }
        links.insert(interface, at.parsed(&format!("{field}.{}", name.get_ref()), actor)?);
        if links.len() > bound::LINKS {
            return Err(at.error(field, name, format!("expected at most {} links", bound::LINKS)));
        }
    }
    Ok(links)
}
