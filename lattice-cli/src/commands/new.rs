//! `lattice new`: a folder with one actor that builds, tests and deploys as it is.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lattice_proto::{ActorName, Ran};
use serde_json::json;

use crate::cli::Global;
use crate::failure::Failure;

/// Each file of a new project and its template. `{{name}}` is the actor, `{{sdk}}` the dependency on the SDK, and `{{serde}}`
/// what a state is saved with.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("new/Cargo.toml.template")),
    ("src/lib.rs", include_str!("new/lib.rs.template")),
    ("lattice.toml", include_str!("new/lattice.toml.template")),
    ("README.md", include_str!("new/README.md.template")),
    (".gitignore", include_str!("new/gitignore.template")),
];

/// Those of a keyed actor that differ.
const KEYED: [(&str, &str); 3] = [
    ("src/lib.rs", include_str!("new/keyed/lib.rs.template")),
    ("lattice.toml", include_str!("new/keyed/lattice.toml.template")),
    ("README.md", include_str!("new/keyed/README.md.template")),
];

/// The template of a file.
fn template(file: &str, keyed: bool) -> &'static str {
    let own = KEYED.iter().find(|(known, _)| keyed && *known == file);
    let usual = || FILES.iter().find(|(known, _)| *known == file);
    own.or_else(usual).map_or("", |(_, template)| template)
}

/// The SDK beside the sources that this binary was built from, if they are still there.
const OWN_SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../actor-sdk");

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor's name, and the folder's
    name: ActorName,
    /// A keyed actor: one for each key, with a state of its own
    #[arg(long)]
    keyed: bool,
    /// Where the SDK is: a folder or the URL of a git repository
    #[arg(long, value_name = "PATH|GIT")]
    sdk: Option<String>,
}

pub fn run(args: Args, global: &Global) -> Result<(), Failure> {
    if args.name.as_str() == lattice_proto::id::EXTERNAL {
        return Err(Failure::usage(
            "`external` stands for callers from outside of the lattice; choose another name",
        ));
    }
    let sdk = dependency(args.sdk.as_deref())?;
    let folder = PathBuf::from(args.name.as_str());
    create(&folder)?;
    let serde = if args.keyed { "serde = { version = \"1\", features = [\"derive\"] }\n" } else { "" };
    for (file, _) in FILES {
        let path = folder.join(file);
        let text = template(file, args.keyed)
            .replace("{{name}}", args.name.as_str())
            .replace("{{sdk}}", &sdk)
            .replace("{{serde}}", serde);
        write(&path, &text)?;
    }
    let made = json!({ "name": args.name, "folder": folder, "files": FILES.map(|(file, _)| file) });
    global.output.print(&made, |_| {
        format!("made {0}/\nnext: cd {0} && lattice build && lattice apply lattice.toml", folder.display())
    })
}

/// An empty folder will do, anything else is somebody's work.
fn create(folder: &Path) -> Result<(), Failure> {
    let taken = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != ErrorKind::NotFound,
    };
    if taken {
        let message = format!("{} is there already; choose another name or remove it", folder.display());
        return Err(Failure::new("exists", Ran::No, message));
    }
    Ok(fs::create_dir_all(folder.join("src"))?)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)
        .map_err(|error| Failure::new("io", Ran::Maybe, format!("cannot write {}: {error}", path.display())))
}

/// The right side of `lattice-actor = …`.
fn dependency(sdk: Option<&str>) -> Result<String, Failure> {
    let path = match sdk {
        Some(url) if is_git(url) => return Ok(format!("{{ git = {} }}", quoted(url))),
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(OWN_SDK),
    };
    // The folder of the SDK itself, or the repository around it.
    let places = [path.join("actor-sdk"), path.clone()];
    let found = places.iter().find(|place| is_sdk(place)).and_then(|place| place.canonicalize().ok());
    match found {
        Some(place) => Ok(format!("{{ path = {} }}", quoted(&place.display().to_string()))),
        None if sdk.is_some() => Err(Failure::usage(format!(
            "{} holds no lattice-actor; name the folder of the SDK",
            path.display()
        ))),
        None => Err(Failure::usage(
            "this `lattice` does not know where its SDK is; name a folder or a git repository with --sdk",
        )),
    }
}

fn is_git(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@") || text.ends_with(".git")
}

fn is_sdk(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("name = \"lattice-actor\""))
}

/// A TOML string; JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_proto::manifest::Manifest;

    #[test]
    fn the_manifest_of_a_new_project_is_valid() {
        for keyed in [false, true] {
            let text = template("lattice.toml", keyed).replace("{{name}}", "hello-2");
            let manifest = Manifest::parse(&text, "lattice.toml").unwrap();
            assert_eq!(manifest.app.as_str(), "hello-2");
        }
    }

    #[test]
    fn the_sdk_is_a_folder_or_a_repository() {
        assert_eq!(dependency(Some("git@h:a/b")).unwrap(), "{ git = \"git@h:a/b\" }");
        assert!(dependency(Some("..")).unwrap().starts_with("{ path = \"/"));
        assert!(dependency(Some("/nonexistent")).is_err());
    }
}
