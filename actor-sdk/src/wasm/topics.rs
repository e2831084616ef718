//! The functions of the WIT world `publishing`, which only an actor imports that uses one of them.

/// What wit-bindgen makes of the world.
#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated, and the canonical ABI is raw memory")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../proto/wit",
        world: "publishing",
        runtime_path: "::lattice_actor::__private::wit_bindgen::rt",
        with: {
            "lattice:actor/types@0.1.0": crate::wasm::bindings::lattice::actor::types,
        },
    });
}
