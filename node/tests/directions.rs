//! Who may name whom: the boundaries of `ARCHITECTURE.md`, checked in the source itself.

#![allow(clippy::unwrap_used, reason = "a test may fail on what it did not expect")]

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below a folder, with its text less the comments.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.push((path, code.collect::<Vec<_>>().join("\n")));
        }
    }
    found
}

/// The files under `src` that name `word`, except in the rooms that may.
fn trespassers(root: &str, word: &str, rooms: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let allowed = |path: &Path| {
        let inside = path.strip_prefix(&root).unwrap();
        rooms.iter().any(|room| inside.starts_with(room) || inside == Path::new(&format!("{room}.rs")))
    };
    let all = sources(&root);
    assert!(!all.is_empty(), "{} has no sources to check", root.display());
    all.into_iter()
        .filter(|(path, text)| text.contains(word) && !allowed(path))
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn only_the_bus_names_async_nats() {
    assert_eq!(trespassers("src", "async_nats", &["bus"]), Vec::<PathBuf>::new());
}

#[test]
fn only_engine_and_capabilities_name_wasmtime() {
    assert_eq!(trespassers("src", "wasmtime", &["engine", "capability"]), Vec::<PathBuf>::new());
}

#[test]
fn the_engine_does_not_read_the_network() {
    assert_eq!(trespassers("src/engine", "bus::", &[]), Vec::<PathBuf>::new());
}

#[test]
fn replicas_know_nothing_of_nats() {
    assert_eq!(trespassers("src/replica", "bus::", &[]), Vec::<PathBuf>::new());
}

#[test]
fn registries_are_asked_in_one_room() {
    // What went wrong there is told over gRPC, too.
    let rooms = ["registry", "admin/error"];
    assert_eq!(trespassers("src", "lattice_oci", &rooms), Vec::<PathBuf>::new());
}

#[test]
fn the_client_of_registries_knows_no_node() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../oci/Cargo.toml")).unwrap();
    for word in ["lattice-node", "lattice-setup", "async-nats", "wasmtime"] {
        assert!(!manifest.contains(word), "lattice-oci depends on {word}");
    }
}

#[test]
fn placement_reads_no_clock_and_does_no_io() {
    let placement =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/placement.rs")).unwrap();
    for word in ["Instant", "SystemTime", "tokio", "std::fs", "async ", "clock::"] {
        assert!(!placement.contains(word), "placement names {word}");
    }
}

#[test]
fn only_the_configuration_reads_the_environment() {
    // The OpenTelemetry variables are the standard's own, and telemetry is what reads them.
    assert_eq!(trespassers("src", "std::env::var", &["config", "telemetry"]), Vec::<PathBuf>::new());
}

#[test]
fn the_protocol_depends_on_neither_nats_nor_wasmtime() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/Cargo.toml")).unwrap();
    for word in ["async-nats", "wasmtime", "lattice-node"] {
        assert!(!manifest.contains(word), "lattice-proto depends on {word}");
    }
}
