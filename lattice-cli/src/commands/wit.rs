//! `lattice wit`: the interface between nodes and actors, for toolchains that have no SDK here.

use serde_json::json;

use crate::cli::Global;
use crate::failure::Failure;

pub fn run(global: &Global) -> Result<(), Failure> {
    global.output.print(&json!({ "wit": lattice_setup::WIT }), |_| lattice_setup::WIT.trim_end().to_owned())
}
