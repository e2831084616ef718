//! JavaScript and TypeScript: bundled by esbuild, made a component by componentize-qjs, which embeds QuickJS. Both come from
//! npm into our cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use serde_json::Value;

use super::{Language, kit, section};
use crate::cache::{self, Workshop};
use crate::process::{capture, on_path, show, tell};
use crate::{Error, Notice, Report, Result, python};

/// Exact versions, so that an actor that builds today builds tomorrow.
const PACKAGES: [&str; 2] = ["componentize-qjs@0.4.5", "esbuild@0.28.2"];

/// Their folder. It is another one when they change, so that an old one is not mistaken for it.
const FOLDER: &str = "javascript-1";

/// They are 50 MB; this allows for a slow line, and ends what hangs.
const INSTALL_BOUND: Duration = Duration::from_secs(600);
const BUILD_BOUND: Duration = Duration::from_secs(300);
const QUICK: Duration = Duration::from_secs(60);

const SCRIPT: &str = include_str!("javascript.mjs");

/// Whether they load, which what they bring for this machine has to.
const PROBE: &str =
    "require('esbuild').transformSync(''); import('componentize-qjs').then(() => process.exit(0))";

/// The oldest Node.js that is used, by its major version: what is older is not tested any more by those who make the tools.
const MINIMUM: u32 = 20;

/// Node.js with its npm.
pub struct Node {
    pub program: PathBuf,
    npm: Npm,
}

/// How npm is started.
enum Npm {
    Program(PathBuf),
    /// By Node.js.
    Script(PathBuf),
}

impl Node {
    /// The system's own, or one of PyPI's; gets that on the first call.
    pub fn get(report: Report) -> Result<Self> {
        if let Some(node) = Self::find() {
            return Ok(node);
        }
        let got = python::node(report);
        let folder = got.map_err(|error| Error::NoNode { minimum: MINIMUM, reason: error.to_string() })?;
        let npm = Npm::Script(folder.join("lib/node_modules/npm/bin/npm-cli.js"));
        Ok(Self { program: folder.join("bin/node"), npm })
    }

    /// The system's own, where it is new enough.
    pub fn find() -> Option<Self> {
        let program = on_path("node").into_iter().next()?;
        let npm = Npm::Program(on_path("npm").into_iter().next()?);
        let version = capture(Command::new(&program).arg("--version"), QUICK).ok()?;
        (major(&version)? >= MINIMUM).then_some(Self { program, npm })
    }

    fn command(&self) -> Command {
        Command::new(&self.program)
    }

    /// Installs what the project in this folder depends on.
    fn install(&self, folder: &Path) -> Result<Command> {
        let mut npm = match &self.npm {
            Npm::Program(program) => Command::new(program),
            Npm::Script(script) => {
                let mut node = self.command();
                node.arg(script);
                node
            }
        };
        npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--cache"]);
        npm.arg(cache::folder()?.join("npm")).current_dir(folder);
        // Packages that are built when they are installed look for it there.
        let own = self.program.parent().map(Path::to_owned);
        let path = env::var_os("PATH").unwrap_or_default();
        if let Ok(path) = env::join_paths(own.into_iter().chain(env::split_paths(&path))) {
            npm.env("PATH", path);
        }
        Ok(npm)
    }
}

/// Of a version as node tells it.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// The folder in which node finds the tools; gets them on the first call.
pub fn tools(node: &Node, report: Report) -> Result<PathBuf> {
    let place = cache::folder()?.join(FOLDER);
    let found = format!("JavaScript tools ({})", place.display());
    let stood_there = place.exists();
    if stood_there && look(node, &place).is_ok() {
        report(Notice::Found(found));
        return Ok(place);
    }
    report(Notice::Getting(format!("getting JavaScript tools from npm: {}", PACKAGES.join(", "))));
    let workshop = Workshop::open(&cache::folder()?)?;
    let made = workshop.path().join("tools");
    fs::create_dir(&made).map_err(Error::io("create", &made))?;
    let mut npm = node.install(&made)?;
    // A folder above may be somebody's project.
    capture(npm.args(["--prefix", ".", "--ignore-scripts"]).args(PACKAGES), INSTALL_BOUND)?;
    look(node, &made)?;
    // What stopped working, say because it is of another machine, moves aside and goes with the workshop.
    if stood_there && look(node, &place).is_err() {
        let _ = fs::rename(&place, workshop.path().join("broken"));
    }
    cache::publish_folder(&made, &place)?;
    report(Notice::Done(format!("got {found}")));
    Ok(place)
}

fn look(node: &Node, place: &Path) -> Result<()> {
    capture(node.command().args(["-e", PROBE]).current_dir(place), QUICK).map(drop)
}

/// Compiles a project.
pub fn build(project: &Path, report: Report) -> Result<PathBuf> {
    let project = project.canonicalize().map_err(Error::io("read", project))?;
    let problem = |problem: String| Error::Compile { folder: project.clone(), problem };
    let package = Package::read(&project).map_err(problem)?;
    let node = Node::get(report)?;
    let tools = tools(&node, report)?;
    if package.needs_install {
        report(Notice::Getting(format!("installing the packages of {} with npm", project.display())));
        show(&mut node.install(&project)?, INSTALL_BOUND)?;
    }
    report(Notice::Getting(format!("building {}", package.name)));
    let built = kit::bring(Language::JavaScript, &project)?.join("built");
    let mut node = node.command();
    node.args(["--input-type=module", "--eval", SCRIPT, "--"]).arg(&project).arg(&package.main);
    let printed = tell(node.current_dir(tools), BUILD_BOUND)
        .map_err(|_| problem("node's messages stand above".to_owned()))?;
    let made = built.join("component.wasm");
    let component = fs::read(&made).map_err(Error::io("read", &made))?;
    let component = section::add(component, &printed).map_err(problem)?;
    let path = built.join("actor.wasm");
    fs::write(&path, component).map_err(Error::io("write", &path))?;
    Ok(path)
}

/// What building needs to know of a `package.json`.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    /// The module whose default export is the actor.
    main: String,
    /// It depends on packages, and nobody has installed them yet.
    needs_install: bool,
}

impl Package {
    fn read(project: &Path) -> std::result::Result<Self, String> {
        let path = project.join(Language::JavaScript.project_file());
        let text = fs::read_to_string(path).map_err(|error| format!("its package.json: {error}"))?;
        let package: Value =
            serde_json::from_str(&text).map_err(|error| format!("its package.json is no JSON: {error}"))?;
        let text = |field: &str| package[field].as_str().map(str::to_owned);
        // What npm means by a package without it.
        let main = text("main").unwrap_or_else(|| "index.js".to_owned());
        if !project.join(&main).is_file() {
            return Err(format!(
                "there is no `{main}`: name the module of the actor with `main` in its package.json"
            ));
        }
        let has = |field: &str| package[field].as_object().is_some_and(|packages| !packages.is_empty());
        let name = text("name").unwrap_or_else(|| main.clone());
        let needs_install = has("dependencies") && !project.join("node_modules").exists();
        Ok(Package { name, main, needs_install })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_node_tells_it() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("v18.0.0-nightly"), Some(18));
        assert_eq!(major("20.1.0"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn a_package_names_the_module_of_the_actor() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let read = || Package::read(folder.path());
        assert!(read().unwrap_err().contains("package.json"));
        write("package.json", "{");
        assert!(read().unwrap_err().contains("no JSON"));
        write("package.json", r#"{ "name": "till", "main": "till.ts" }"#);
        assert!(read().unwrap_err().contains("no `till.ts`"));
        write("till.ts", "");
        let package = read().unwrap();
        assert_eq!(
            (package.name.as_str(), package.main.as_str(), package.needs_install),
            ("till", "till.ts", false)
        );
        write("index.js", "");
        write("package.json", r#"{ "dependencies": { "left-pad": "1" } }"#);
        let package = read().unwrap();
        assert_eq!((package.main.as_str(), package.needs_install), ("index.js", true));
        fs::create_dir(folder.path().join("node_modules")).unwrap();
        assert!(!read().unwrap().needs_install);
    }
}
