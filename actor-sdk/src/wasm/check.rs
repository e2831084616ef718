//! The component's side of the WIT world `checked`: an export that only an actor with a check has.

use self::bindings::exports::lattice::actor::check::Guest;
use super::{Exported, instance};
use crate::Actor;
use crate::actor::Checked;

/// What wit-bindgen makes of the world. Its macro brings the world into the component of whoever calls it, and no other.
#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated, and the canonical ABI is raw memory")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../proto/wit",
        world: "checked",
        pub_export_macro: true,
        export_macro_name: "__export_check",
        default_bindings_module: "lattice_actor::__private::check_bindings",
        runtime_path: "::lattice_actor::__private::wit_bindgen::rt",
    });
}

impl<A: Actor + Checked + Default + 'static> Guest for Exported<A> {
    async fn check() -> Result<(), String> {
        instance::<A>().check().await
    }
}
