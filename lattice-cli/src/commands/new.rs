//! `lattice new`: a folder with one actor that builds, tests and deploys as it is.

mod templates;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lattice_proto::{ActorName, Ran};
use lattice_setup::Language;
use serde_json::json;

use crate::cli::Global;
use crate::failure::Failure;

/// The SDK beside the sources that this binary was built from, if they are still there.
const OWN_SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../actor-sdk");

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor's name, and the folder's
    name: ActorName,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Lang::Rust)]
    lang: Lang,
    /// A keyed actor: one for each key, with a state of its own; in Rust
    #[arg(long)]
    keyed: bool,
    /// Where the SDK of Rust is: a folder or the URL of a git repository
    #[arg(long, value_name = "PATH|GIT")]
    sdk: Option<String>,
}

/// A language as it is written on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Lang {
    Rust,
    /// JavaScript or TypeScript
    #[value(alias = "javascript")]
    Js,
    Python,
    Go,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Rust => Language::Rust,
            Lang::Js => Language::JavaScript,
            Lang::Python => Language::Python,
            Lang::Go => Language::Go,
        }
    }
}

pub fn run(args: Args, global: &Global) -> Result<(), Failure> {
    if args.name.as_str() == lattice_proto::id::EXTERNAL {
        return Err(Failure::usage(
            "`external` stands for callers from outside of the lattice; choose another name",
        ));
    }
    let language = Language::from(args.lang);
    let sdk = match language {
        Language::Rust => dependency(args.sdk.as_deref())?,
        _ if args.keyed => {
            return Err(Failure::usage("keyed actors are written in Rust; leave out --keyed or --lang"));
        }
        _ if args.sdk.is_some() => {
            return Err(Failure::usage(
                "the SDK of this language comes with `lattice build`; leave out --sdk",
            ));
        }
        _ => String::new(),
    };
    let folder = PathBuf::from(args.name.as_str());
    create(&folder)?;
    let serde = if args.keyed { "serde = { version = \"1\", features = [\"derive\"] }\n" } else { "" };
    let files = templates::files(language, args.keyed);
    for (file, template) in files {
        let text = template
            .replace("{{name}}", args.name.as_str())
            .replace("{{sdk}}", &sdk)
            .replace("{{serde}}", serde);
        write(&folder.join(file), &text)?;
    }
    lattice_setup::bring_sdk(language, &folder)?;
    let names: Vec<&str> = files.iter().map(|(file, _)| *file).collect();
    let made = json!({ "name": args.name, "folder": folder, "files": names });
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
    Ok(fs::create_dir_all(folder)?)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
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
    use clap::ValueEnum;
    use lattice_proto::manifest::Manifest;

    use super::*;

    #[test]
    fn the_manifest_of_a_new_project_is_valid() {
        let languages = Lang::value_variants().iter().map(|lang| (*lang, false));
        for (lang, keyed) in languages.chain([(Lang::Rust, true)]) {
            let files = templates::files(lang.into(), keyed);
            let (_, text) = files.iter().find(|(file, _)| *file == "lattice.toml").unwrap();
            let manifest = Manifest::parse(&text.replace("{{name}}", "hello-2"), "lattice.toml").unwrap();
            assert_eq!(manifest.app.as_str(), "hello-2");
        }
    }

    #[test]
    fn a_new_project_is_one_that_lattice_build_knows() {
        for lang in Lang::value_variants() {
            let language = Language::from(*lang);
            let files = templates::files(language, false);
            assert!(files.iter().any(|(file, _)| *file == language.project_file()), "{lang:?}");
        }
    }

    #[test]
    fn the_sdk_is_a_folder_or_a_repository() {
        assert_eq!(dependency(Some("git@h:a/b")).unwrap(), "{ git = \"git@h:a/b\" }");
        assert!(dependency(Some("..")).unwrap().starts_with("{ path = \"/"));
        assert!(dependency(Some("/nonexistent")).is_err());
    }
}
