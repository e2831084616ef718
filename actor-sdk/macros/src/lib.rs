//! The macros of `lattice-actor`: they read the user's Rust, refuse what cannot travel, and write the glue.
//!
//! They never decide how a message looks: everything they write calls `lattice_actor::__private`, where the rules live.
//! Their documentation stands on the re-exports of `lattice-actor`, where its examples can run.

mod actor;
mod actor_error;
mod interface;
mod keyed;
mod operation;

use proc_macro::TokenStream;

/// Makes a trait the interface of an actor. Use it as `lattice_actor::interface`.
#[proc_macro_attribute]
pub fn interface(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(interface::expand(arguments.into(), item.into()))
}

/// Makes an `impl` block the actor of this crate. Use it as `lattice_actor::actor`.
#[proc_macro_attribute]
pub fn actor(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(actor::expand(arguments.into(), item.into()))
}

/// Makes an `impl` block the keyed actor of this crate. Use it as `lattice_actor::keyed`.
#[proc_macro_attribute]
pub fn keyed(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(keyed::expand(arguments.into(), item.into()))
}

/// Lets an enum or struct travel as an actor's own error. Use it as `lattice_actor::ActorError`.
#[proc_macro_derive(ActorError)]
pub fn actor_error(item: TokenStream) -> TokenStream {
    finish(actor_error::expand(item.into()))
}

fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded.unwrap_or_else(|error| error.into_compile_error()).into()
}
