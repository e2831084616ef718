//! Python: made a component by componentize-py, which embeds CPython and comes from PyPI into our cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use toml::Table;

use super::{Language, kit, section};
use crate::process::{show, tell};
use crate::{Error, Notice, Report, Result, python};

/// It takes 8 seconds where there is nothing else to do.
const BUILD_BOUND: Duration = Duration::from_secs(300);
const QUICK: Duration = Duration::from_secs(60);

/// The program that pip installs begins with the path of its Python, which was another one then.
const COMPONENTIZE: &str =
    "import sys; from componentize_py import script; sys.argv[0] = 'componentize-py'; sys.exit(script())";

const DESCRIBE: &str =
    "import json; from lattice_author import actor; print(); print(json.dumps(actor.metadata()))";

/// Compiles a project.
pub fn build(project: &Path, report: Report) -> Result<PathBuf> {
    let project = project.canonicalize().map_err(Error::io("read", project))?;
    let problem = |problem: &str| Error::Compile { folder: project.clone(), problem: problem.to_owned() };
    let Package { name, module } = Package::read(&project).map_err(|reason| problem(&reason))?;
    let python = python::componentize(report)?;
    report(Notice::Getting(format!("building {name}")));
    let kit = kit::bring(Language::Python, &project)?;
    kit::write(&kit.join("lattice_author.py"), &format!("from {module} import actor\n"))?;

    let folders = [kit.clone(), project.join("src"), project.clone()];
    let paths = env::join_paths(&folders).map_err(|_| problem("has a `:` in its path: move it"))?;
    let mut describe = Command::new(own(&python));
    describe.args(["-c", DESCRIBE]).env("PYTHONPATH", &paths).env("PYTHONDONTWRITEBYTECODE", "1");
    let printed =
        tell(describe.current_dir(&project), QUICK).map_err(|_| problem("Python's messages stand above"))?;

    let built = kit.join("built");
    fs::create_dir_all(&built).map_err(Error::io("create", &built))?;
    let path = built.join("actor.wasm");
    let mut componentize = Command::new(&python);
    componentize.args(["-c", COMPONENTIZE, "--quiet", "--world", "blocking-actor", "--wit-path"]);
    componentize.arg(kit.join("wit")).args(["componentize", "lattice_guest", "--output"]).arg(&path);
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        componentize.arg("--python-path").arg(folder);
    }
    // Its own backtrace is of no use to whoever reads what is wrong with the actor.
    componentize.env("RUST_BACKTRACE", "0").current_dir(&project);
    show(&mut componentize, BUILD_BOUND).map_err(|_| problem("componentize-py's messages stand above"))?;
    let component = fs::read(&path).map_err(Error::io("read", &path))?;
    let component = section::add(component, &printed).map_err(|reason| problem(&reason))?;
    fs::write(&path, component).map_err(Error::io("write", &path))?;
    Ok(path)
}

/// The Python that has what the actor depends on, where somebody works in a virtual environment; componentize-py takes its
/// packages along.
fn own(tools: &Path) -> PathBuf {
    let environment = env::var_os("VIRTUAL_ENV").map(|folder| PathBuf::from(folder).join("bin/python"));
    environment.filter(|python| python.exists()).unwrap_or_else(|| tools.to_owned())
}

/// What building needs to know of a `pyproject.toml`.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    /// The module with the actor in its variable `actor`.
    module: String,
}

impl Package {
    fn read(project: &Path) -> std::result::Result<Self, String> {
        let path = project.join(Language::Python.project_file());
        let text = fs::read_to_string(path).map_err(|error| format!("its pyproject.toml: {error}"))?;
        let file: Table = text.parse().map_err(|error| format!("its pyproject.toml is no TOML: {error}"))?;
        let text = |table: &[&str], field: &str| {
            let table = table.iter().try_fold(&file, |table, name| table.get(*name)?.as_table())?;
            table.get(field)?.as_str().map(str::to_owned)
        };
        let module = text(&["tool", "lattice"], "module").unwrap_or_else(|| "actor".to_owned());
        let is_name = |part: &str| {
            part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        if !module.split('.').all(is_name) {
            return Err(format!(
                "`{module}` is no module: correct `module` under [tool.lattice] in its pyproject.toml"
            ));
        }
        let name = text(&["project"], "name").unwrap_or_else(|| module.clone());
        Ok(Package { name, module })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_may_name_the_module_of_the_actor() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            fs::write(folder.path().join("pyproject.toml"), text).unwrap();
            Package::read(folder.path())
        };
        let package = |name: &str, module: &str| Package { name: name.into(), module: module.into() };
        assert_eq!(read("").unwrap(), package("actor", "actor"));
        let text = "[project]\nname = 'till'\n[tool.lattice]\nmodule = 'shop.till'";
        assert_eq!(read(text).unwrap(), package("till", "shop.till"));
        assert!(read("[tool.lattice]\nmodule = 'a; import os'").unwrap_err().contains("no module"));
        assert!(read("[").unwrap_err().contains("no TOML"));
    }
}
