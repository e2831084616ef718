//! `lattice dev`: what is saved is served soon, what is wrong is shown and harms nothing, and nothing stays behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lattice_tests::process::Process;
use lattice_tests::wait::judge;
use lattice_tests::{Lattice, artifacts, cli, lattice, manifests, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The first build compiles the SDK.
const FIRST: Duration = Duration::from_secs(300);

/// What the issue states, from the save of a small Rust actor until it serves.
const SAVE_TO_SERVED: Duration = Duration::from_secs(2);

const LATEST: Duration = Duration::from_secs(60);

/// It has nothing to wait for but its own children.
const END: Duration = Duration::from_secs(10);

/// By which the processes of one session are told from all others: they inherit it.
const MARK: &str = "LATTICE_DEV_TEST";

/// A running `lattice dev`, in a folder of its own for everything temporary.
struct Session {
    process: Process,
    mark: String,
    temporary: TempDir,
}

impl Session {
    /// Starts it for what lies at `path`.
    fn start(path: &Path, admin: &str, words: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("tmp")).unwrap();
        let mark = uuid::Uuid::new_v4().to_string();
        let log = temporary.path().join("log");
        let configure = |command: &mut std::process::Command| {
            command.args(["-o", "json", "dev"]).args(words).arg(path);
            command.env("TMPDIR", temporary.path().join("tmp")).env(MARK, &mark).env("LATTICE_ADMIN", admin);
            // The project's own folder, as at home.
            command.env_remove("CARGO_TARGET_DIR");
        };
        let process = Process::start("lattice dev", &lattice::node_program(), configure, &log);
        Self { process, mark, temporary }
    }

    /// What it has told so far.
    fn events(&self) -> Vec<Value> {
        let output = self.process.output();
        let objects = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        objects.filter(|object| object["event"].is_string()).collect()
    }

    /// Waits until it has told something of the wanted kind once more than it had.
    async fn next(&self, kind: &str, before: usize, bound: Duration) -> Value {
        let told = async || self.events();
        let of_kind = |events: &Vec<Value>| events.iter().filter(|e| e["event"] == kind).count();
        let seen = wait_for(&format!("`{kind}`"), bound, told, |events| of_kind(events) > before).await;
        seen.iter().filter(|event| event["event"] == kind).nth(before).unwrap().clone()
    }

    fn count(&self, kind: &str) -> usize {
        self.events().iter().filter(|event| event["event"] == kind).count()
    }

    /// The commands of all processes that it has started and that still run, and its own.
    fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.mark);
        let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let read = |path: &Path, name: &str| fs::read(path.join(name)).unwrap_or_default();
        entries
            .filter(|path| read(path, "environ").split(|byte| *byte == 0).any(|word| word == mark.as_bytes()))
            .map(|path| String::from_utf8_lossy(&read(&path, "cmdline")).replace('\0', " "))
            .collect()
    }

    /// A signal that reaches it alone: what it starts is in other process groups.
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.pid().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// A Ctrl-C, as a person's.
    async fn interrupt(self) {
        self.end_by(Signal::INT).await;
    }

    async fn end_by(mut self, signal: Signal) {
        self.signal(signal);
        let start = Instant::now();
        let status = self.process.wait(END).await;
        lattice_tests::say(&format!("measured: lattice dev: ended in {:.1?}", start.elapsed()));
        assert!(status.success(), "{status}: {}", self.process.output());
        wait_until("no process is left", END, async || self.processes(), Vec::is_empty).await;
        let left = fs::read_dir(self.temporary.path().join("tmp")).unwrap().flatten();
        // A compiler that is ended leaves a folder of its own, as it does after any Ctrl-C.
        let ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("lattice");
        let left: Vec<_> = left.map(|entry| entry.file_name()).filter(ours).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// A project as `lattice new` makes it.
async fn project(folder: &Path) -> PathBuf {
    let said = cli::lattice_in(folder, "", &["new", "hello"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    folder.join("hello")
}

/// Changes what is in a file, and returns when that was.
fn edit(file: &Path, was: &str, is: &str) -> Instant {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(was), "{text}");
    fs::write(file, text.replace(was, is)).unwrap();
    Instant::now()
}

async fn hello(admin: &str) -> String {
    let said = cli::lattice(admin, &["call", "hello", "hello", "\"Ada\""]).await;
    if said.code == 0 { said.json().as_str().unwrap().to_owned() } else { said.stderr }
}

async fn serves(admin: &str, reply: &str) {
    wait_until(reply, LATEST, || hello(admin), |said| said == reply).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_saved_is_served_and_what_is_wrong_is_shown_and_nothing_stays_behind() {
    let place = tempfile::tempdir().unwrap();
    let project = project(place.path()).await;
    let session = Session::start(&project, "", &["--listen", "127.0.0.1:0"]);
    let node = session.next("node", 0, LATEST).await;
    let admin = node["admin"].as_str().unwrap();
    assert!(node["http"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{node}");
    let first = session.next("applied", 0, FIRST).await;
    assert_eq!((first["app"].as_str(), first["revision"].as_u64()), (Some("hello"), Some(1)), "{first}");
    assert_eq!(hello(admin).await, "Hello, Ada!");

    // A save, and another.
    let source = project.join("src/lib.rs");
    for (was, is) in [("Hello, {name}", "Good day, {name}"), ("Good day, {name}", "Welcome, {name}")] {
        let applied = session.count("applied");
        let saved = edit(&source, was, is);
        serves(admin, &is.replace("{name}", "Ada!")).await;
        judge("lattice dev: from the save until it is served", saved.elapsed(), SAVE_TO_SERVED);
        let told = session.next("applied", applied, LATEST).await;
        lattice_tests::say(&format!("measured: lattice dev: told after {} ms", told["ms"]));
        let built = session.events().into_iter().rfind(|event| event["event"] == "built").unwrap();
        assert_eq!(built["actors"][0], "hello", "{built}");
        lattice_tests::say(&format!("measured: lattice dev: built in {} ms", built["ms"]));
        // All of its replicas are new.
        for _ in 0..8 {
            assert_eq!(hello(admin).await, is.replace("{name}", "Ada!"));
        }
    }

    // What does not compile is shown, and harms nothing.
    let failed = session.count("failed");
    edit(&source, "async fn hello", "async fnn hello");
    let told = session.next("failed", failed, LATEST).await;
    assert_eq!(told["step"], "build", "{told}");
    let output = session.process.output();
    assert!(output.contains("fnn") && output.contains("src/lib.rs"), "the compiler's words: {output}");
    assert_eq!(hello(admin).await, "Welcome, Ada!");
    edit(&source, "Welcome", "Hi");
    session.next("failed", failed + 1, LATEST).await;
    edit(&source, "async fnn hello", "async fn hello");
    serves(admin, "Hi, Ada!").await;

    // The manifest.
    let manifest = project.join("lattice.toml");
    let failed = session.count("failed");
    edit(&manifest, "replicas = 2", "replicas = \"many\"");
    assert_eq!(session.next("failed", failed, LATEST).await["step"], "manifest");
    let (applied, built) = (session.count("applied"), session.count("built"));
    edit(&manifest, "replicas = \"many\"", "replicas = 3");
    session.next("applied", applied, LATEST).await;
    let ps = cli::lattice(admin, &["-o", "json", "ps"]).await.json();
    assert_eq!((ps[0]["desired"].as_u64(), ps[0]["ready"].as_u64()), (Some(3), Some(3)), "{ps}");
    assert_eq!(session.count("built"), built, "nothing had to be compiled for that");

    // What the actor says.
    let applied = session.count("applied");
    edit(&source, "Ok(format!", "lattice_actor::log::info!(\"asked by {name}\");\n        Ok(format!");
    session.next("applied", applied, LATEST).await;
    assert_eq!(hello(admin).await, "Hi, Ada!");
    let told = async || session.events();
    let line = |event: &Value| event["event"] == "log" && event["text"] == "asked by Ada";
    wait_until("its line", LATEST, told, |events| events.iter().any(line)).await;

    assert!(!project.join("hello.wasm").exists(), "artifacts are for `lattice build`");
    session.interrupt().await;
    assert_eq!(cli::lattice(admin, &["ps"]).await.code, 1, "the node is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_goes_on_is_ended_as_well() {
    let place = tempfile::tempdir().unwrap();
    let project = project(place.path()).await;
    let session = Session::start(&project, "", &["--listen", "127.0.0.1:0"]);
    let compiles = |running: &Vec<String>| running.iter().any(|command| command.contains("rustc "));
    wait_until("a compiler runs", LATEST, async || session.processes(), compiles).await;
    session.end_by(Signal::QUIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_end_anything_any_more_leaves_nothing_running_either() {
    let place = tempfile::tempdir().unwrap();
    let project = project(place.path()).await;
    let session = Session::start(&project, "", &["--listen", "127.0.0.1:0"]);
    let all = |running: &Vec<String>| {
        ["rustc ", " start ", "nats-server"].iter().all(|word| running.iter().any(|one| one.contains(word)))
    };
    wait_until("a compiler, a node and its server run", LATEST, async || session.processes(), all).await;
    session.signal(Signal::KILL);
    wait_until("no process is left", LATEST, async || session.processes(), Vec::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_at_the_start_can_be_put_right() {
    let lattice = Lattice::start(1).await;
    let admin = &lattice.nodes[0].ready().admin;
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("greeter.wasm"), artifacts::bytes("greeter.wasm")).unwrap();
    let manifest = place.path().join("lattice.toml");
    fs::write(&manifest, manifests::greeter_with("build = \"nowhere\"")).unwrap();
    let session = Session::start(place.path(), admin, &[]);
    assert_eq!(session.next("failed", 0, LATEST).await["step"], "manifest");
    edit(&manifest, "build = \"nowhere\"", "");
    session.next("applied", 0, LATEST).await;
    session.interrupt().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_shell_was_told_once_is_not_where_each_save_goes() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("lattice.toml"), manifests::greeter(1)).unwrap();
    let far = [("LATTICE_ADMIN", "http://192.0.2.1:7700")];
    let said = cli::alone(place.path(), &far, &["dev"]).await;
    let advice = "write `--admin http://192.0.2.1:7700`";
    assert!(said.code == 2 && said.stderr.contains(advice), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_node_that_runs_already_an_artifact_made_otherwise_is_applied_at_each_save() {
    let lattice = Lattice::start(1).await;
    let admin = &lattice.nodes[0].ready().admin;
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("greeter.wasm"), artifacts::bytes("greeter.wasm")).unwrap();
    fs::write(place.path().join("lattice.toml"), manifests::greeter(1)).unwrap();
    let session = Session::start(place.path(), admin, &[]);
    let there = session.next("lattice", 0, LATEST).await;
    assert_eq!(there["admin"].as_str(), Some(admin.as_str()), "{there}");
    session.next("applied", 0, LATEST).await;
    // A section for whoever looks, which changes the digest and nothing else.
    let other = [&artifacts::bytes("greeter.wasm")[..], b"\0\x02\x01x"].concat();
    fs::write(place.path().join("greeter.wasm"), other).unwrap();
    let applied = session.next("applied", 1, LATEST).await;
    assert_eq!((applied["revision"].as_u64(), session.count("node")), (Some(2), 0), "{applied}");
    session.interrupt().await;
    assert_eq!(cli::lattice(admin, &["-o", "json", "ps"]).await.json()[0]["ready"], 1, "it stays deployed");
}
