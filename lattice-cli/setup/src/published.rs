//! Components that others have published: test data of crates, which cargo gets. None of them knows of Lattice.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use crate::cache::{self, Workshop};
use crate::process::capture;
use crate::{Error, Notice, Report, Result};

/// A crate of this version, and what is taken from it, under which names.
struct Published {
    name: &'static str,
    version: &'static str,
    files: &'static [(&'static str, &'static str)],
}

/// Exact versions, so that a test that passes today passes tomorrow; cargo knows what they must hold.
const ALL: [Published; 2] = [
    Published {
        name: "oci-wasm",
        version: "0.6.0",
        files: &[("tests/data/component.wasm", "http_hello.wasm")],
    },
    Published {
        name: "wash-runtime",
        version: "0.1.0",
        files: &[
            ("tests/fixtures/http_counter.wasm", "http_counter.wasm"),
            ("tests/fixtures/http_blobstore.wasm", "http_blobstore.wasm"),
            ("tests/fixtures/blobby.wasm", "blobby.wasm"),
        ],
    },
];

/// Their folder. It is another one when they change, so that an old one is not mistaken for it.
const FOLDER: &str = "components-2";

const DOWNLOAD_BOUND: Duration = Duration::from_secs(300);

/// A folder with all of them; gets them on the first call.
///
/// # Errors
/// When cargo cannot get them. Callers that only test with them say so loudly and go on.
pub fn published_components(report: Report) -> Result<PathBuf> {
    let cache = cache::folder()?;
    let place = cache.join(FOLDER);
    let found = format!("components of others for tests ({})", place.display());
    if place.is_dir() {
        report(Notice::Found(found));
        return Ok(place);
    }
    let names: Vec<String> =
        ALL.iter().map(|Published { name, version, .. }| format!("{name} {version}")).collect();
    report(Notice::Getting(format!("getting the test data of {} for the tests", names.join(" and "))));
    let workshop = Workshop::open(&cache)?;
    let made = workshop.path().join("components");
    fs::create_dir(&made).map_err(Error::io("create", &made))?;
    for published in &ALL {
        let source = get(published, workshop.path())?;
        for (from, to) in published.files {
            let from = source.join(from);
            fs::copy(&from, made.join(to)).map_err(Error::io("read", &from))?;
        }
    }
    cache::publish_folder(&made, &place)?;
    report(Notice::Done(format!("got {found}")));
    Ok(place)
}

/// Has cargo download a crate, and says where it lies. Asking for what there is to know of it gets it and nothing else.
fn get(Published { name, version, .. }: &Published, workshop: &Path) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut info = Command::new(cargo);
    info.args(["info", "--quiet", "--color", "never", &format!("{name}@{version}")]).current_dir(workshop);
    capture(&mut info, DOWNLOAD_BOUND)?;
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let sources = home.ok_or(Error::NoCache)?.join("registry/src");
    let registries = fs::read_dir(&sources).map_err(Error::io("read", &sources))?;
    let folder = format!("{name}-{version}");
    let mut places = registries.flatten().map(|registry| registry.path().join(&folder));
    places.find(|place| place.is_dir()).ok_or_else(|| Error::Failed {
        command: format!("cargo info {name}@{version}"),
        outcome: format!("left no `{folder}` in {}", sources.display()),
    })
}
