//! `wasi:config`: what the manifest's `config` says. Without one there is nothing to find.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower};

use crate::engine::Guest;

/// The versions that components ask for; they differ in name only.
const INTERFACES: [&str; 3] =
    ["wasi:config/store@0.2.0-rc.1", "wasi:config/store@0.2.0-draft", "wasi:config/runtime@0.2.0-draft"];

/// What may go wrong with a source of configuration. Nothing does: it came with the manifest.
#[allow(dead_code, reason = "it says what the interface looks like")]
#[derive(ComponentType, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Store<'a> = StoreContextMut<'a, Guest>;
    for interface in INTERFACES {
        let mut config = linker.instance(interface)?;
        config.func_wrap("get", |store: Store<'_>, (key,): (String,)| {
            let found: Result<_, Error> = Ok(store.data().home.settings.config.get(&key).cloned());
            Ok((found,))
        })?;
        config.func_wrap("get-all", |store: Store<'_>, (): ()| {
            let config = &store.data().home.settings.config;
            let all = config.iter().map(|(key, value)| (key.clone(), value.clone()));
            let all: Result<Vec<_>, Error> = Ok(all.collect());
            Ok((all,))
        })?;
    }
    Ok(())
}
