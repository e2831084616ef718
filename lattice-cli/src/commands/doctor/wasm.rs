//! Is there something that compiles actors?

use std::path::Path;

use super::{Finding, Repair};
use crate::output::Format;
use crate::setup;

const CHECK: &str = "wasm toolchain";

pub async fn toolchain(repair: Repair, output: Format) -> Finding {
    let found = setup::blocking(output, move |report| match repair {
        Repair::Look => lattice_setup::find_wasm_toolchain(Path::new(".")),
        Repair::Fix => lattice_setup::wasm_toolchain(Path::new("."), report).map(Some),
    });
    match found.await {
        Ok(Some(toolchain)) => Finding::ok(CHECK, toolchain.to_string()),
        Ok(None) => Finding::failed(
            CHECK,
            format!(
                "nothing compiles Rust to {}; `lattice doctor --fix` gets it",
                lattice_setup::WASM_TARGET
            ),
        ),
        Err(failure) => Finding::failed(CHECK, failure.to_string()),
    }
}
