//! A component that exports an interface and knows nothing of Lattice: others are linked to it. It gives every value back.

#![cfg(target_family = "wasm")]
#![allow(unsafe_code, reason = "generated: what a component exports is entered by raw memory")]

/// What wit-bindgen makes of the WIT package.
#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated, and the canonical ABI is raw memory")]
mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "exporter" });
}

use bindings::exports::acme::values::echo::{Access, Guest, Numbers, Shape, Texts, Whole};

struct Exporter;

bindings::export!(Exporter with_types_in bindings);

impl Guest for Exporter {
    fn give_back(value: Whole) -> Whole {
        value
    }

    fn give_many(
        a: bool,
        b: Numbers,
        c: Texts,
        d: Shape,
        e: Option<Option<u8>>,
        f: Access,
        g: Option<u8>,
    ) -> (bool, Numbers, Texts, Shape, Option<Option<u8>>, Access, Option<u8>) {
        (a, b, c, d, e, f, g)
    }

    async fn give_later(text: String, ms: u32) -> String {
        wasip3::clocks::monotonic_clock::wait_for(u64::from(ms) * 1_000_000).await;
        text
    }

    fn nothing() {}

    fn trap(why: String) {
        panic!("{why}")
    }

    fn long(bytes: u32) -> Vec<u8> {
        vec![7; bytes as usize]
    }
}
