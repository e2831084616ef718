//! Nodes start in any order, before or after NATS, and refuse with the reason what cannot work.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lattice_proto::admin::ListNodesRequest;
use lattice_proto::admin::admin_client::AdminClient;
use lattice_tests::lattice::{Settings, node_program, start_and_fail};
use lattice_tests::{Fault, Lattice, NatsServer, Node, manifests, nats, skip_loudly, wait_for, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_may_start_before_nats() {
    let mut lattice = Lattice::builder(3).nats(NatsServer::stopped()).spawn();
    let observe = async || lattice.nodes[0].output();
    wait_until("it says that NATS is not there", LATEST, observe, |said| said.contains("nats")).await;
    lattice.nats.restart().await;
    for node in 0..3 {
        lattice.nodes[node].wait_until_ready().await;
    }
    lattice.wait_until_joined(LATEST).await;
    lattice.apply(&manifests::greeter(3)).await;
    lattice.call(2, "greeter", "hello", json!("Ada")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_of_the_same_name_is_refused() {
    let lattice = Lattice::start(1).await;
    let settings = like(&lattice, "node-0", "second");
    let (status, said) = start_and_fail(settings, LATEST).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("node-0") && said.contains("--name"), "{said}");
    assert_eq!(lattice.state(0, 0).await, "ready");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_killed_may_come_back_at_once_under_its_name() {
    let mut lattice = Lattice::start(2).await;
    let before = lattice.nodes[1].ready().id.clone();
    lattice.nodes[1].kill();
    lattice.restart_node(1).await;
    assert_ne!(lattice.nodes[1].ready().id, before);
    lattice.wait_until_joined(LATEST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_port_in_use_is_refused_with_what_to_do() {
    let lattice = Lattice::start(1).await;
    let mut settings = like(&lattice, "node-1", "second");
    lattice.nodes[0].ready().admin.trim_start_matches("http://").clone_into(&mut settings.listen);
    let (status, said) = start_and_fail(settings.clone(), LATEST).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&settings.listen) && said.contains("--listen"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_starts_its_own_nats_server_and_takes_it_along() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(alone(folder.path())).await;
    let address = node.ready().nats.trim_start_matches("nats://").to_owned();
    assert!(tokio::net::TcpStream::connect(&address).await.is_ok(), "no server at {address}");
    let status = node.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", node.output());
    let observe = async || tokio::net::TcpStream::connect(&address).await.is_ok();
    wait_until("its server is gone", LATEST, observe, |there| !there).await;
    // Other nodes know the server by its address.
    let mut again = Node::start(alone(folder.path())).await;
    assert_eq!(again.ready().nats.trim_start_matches("nats://"), address);
    again.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_do_not_share_a_folder_whatever_server_they_use() {
    let lattice = Lattice::start(1).await;
    let mut settings = lattice.nodes[0].settings().clone();
    "second".clone_into(&mut settings.name);
    let (status, said) = start_and_fail(settings, LATEST).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another node uses the data folder") && said.contains("--data"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_waits_for_nats_says_so_at_once_to_whoever_asks() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut lattice = Lattice::builder(1).nats(NatsServer::stopped()).spawn();
    let mut settings = lattice.nodes[0].settings().clone();
    lattice.nodes[0].kill();
    settings.listen = format!("127.0.0.1:{port}");
    lattice.nodes[0] = Node::spawn(settings);
    let address = format!("http://127.0.0.1:{port}");
    let ask = async || {
        let began = std::time::Instant::now();
        let mut admin = AdminClient::connect(address.clone()).await.ok()?;
        let status = admin.list_nodes(ListNodesRequest::default()).await.unwrap_err();
        Some((Fault::from(status), began.elapsed()))
    };
    let answer = wait_for("it answers", LATEST, ask, Option::is_some).await;
    let (fault, after) = answer.unwrap();
    assert_eq!((fault.kind(), fault.ran), ("unavailable", lattice_proto::Ran::No), "{fault}");
    assert!(fault.message.contains("NATS") && after < Duration::from_secs(3), "{after:?}: {fault}");
    lattice.nats.restart().await;
    lattice.nodes[0].wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_in_the_same_folder_is_refused_and_harms_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(alone(folder.path())).await;
    let address = node.ready().nats.trim_start_matches("nats://").to_owned();
    let mut second = alone(folder.path());
    "second".clone_into(&mut second.name);
    let (status, said) = start_and_fail(second, LATEST).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("--data") && said.contains("--nats"), "{said}");
    assert!(tokio::net::TcpStream::connect(&address).await.is_ok(), "the first one's server is gone");
    assert!(!node.has_ended());
    node.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_a_killed_node_left_is_used_again_and_its_end_ends_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Node::start(alone(folder.path())).await;
    let address = first.ready().nats.clone();
    first.kill();
    let mut node = Node::start(alone(folder.path())).await;
    assert_eq!(node.ready().nats, address, "there must be one server for one store");

    let ports = std::fs::read_dir(folder.path().join("data/nats/ports")).unwrap().flatten().next().unwrap();
    let name = ports.file_name().into_string().unwrap();
    let pid = name.strip_suffix(".ports").unwrap().rsplit_once('_').unwrap().1.parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let status = node.ended(LATEST).await;
    assert_eq!(status.code(), Some(1), "{}", node.output());
    assert!(node.output().contains("nats-server of this node ended"), "{}", node.output());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lattice_may_be_called_like_a_part_of_its_subjects() {
    let lattice = Lattice::builder(2).id("control").start().await;
    lattice.apply(&manifests::greeter(2)).await;
    lattice.call(0, "greeter", "hello", json!("Ada")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_stop_leaves_in_order() {
    let mut lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(4)).await;
    let status = lattice.nodes[1].terminate().await;
    assert_eq!(status.code(), Some(0), "{}", lattice.nodes[1].output());
    lattice.wait_for_spread(0, "greeter", &[4], LATEST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_too_old_is_refused_with_the_reason() {
    const TEST: &str = "a_server_that_is_too_old_is_refused_with_the_reason";
    let folder = tempfile::tempdir().unwrap();
    let old = match debians_server(folder.path()) {
        Ok(program) => program,
        Err(reason) => return skip_loudly(TEST, &reason),
    };
    let nats = NatsServer::start_program(&old).await;
    let mut lattice = Lattice::builder(1).nats(nats).spawn();
    let status = lattice.nodes[0].ended(LATEST).await;
    let said = lattice.nodes[0].output();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("2.14") && said.contains("2.9"), "{said}");
}

/// The settings of a node that runs a server of its own in this folder.
fn alone(folder: &Path) -> Settings {
    Settings {
        program: node_program(),
        name: "alone".to_owned(),
        labels: Vec::new(),
        lattice: format!("alone-{}", std::process::id()),
        nats: None,
        listen: "127.0.0.1:0".to_owned(),
        env: [("NATS_SERVER_BIN".to_owned(), nats::program().display().to_string())].into(),
        args: Vec::new(),
        folder: folder.to_owned(),
    }
}

/// The settings of one more node beside those of a lattice.
fn like(lattice: &Lattice, name: &str, folder: &str) -> Settings {
    let mut settings = lattice.nodes[0].settings().clone();
    name.clone_into(&mut settings.name);
    settings.folder = lattice.nats.folder().join(folder);
    settings
}

/// Unpacks the server that Debian 12 ships, 2.9, without installing it.
fn debians_server(folder: &Path) -> Result<PathBuf, String> {
    let run = |program: &str, words: &[&str]| {
        let output = Command::new(program)
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{program} cannot be started: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(()) } else { Err(format!("`{program} {}`: {said}", words.join(" "))) }
    };
    run("apt-get", &["download", "nats-server"])?;
    let package = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    let package =
        package.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    let package = package.ok_or("apt-get left no package")?;
    run("dpkg", &["-x", &package.display().to_string(), "."])?;
    let program = ["usr/bin/nats-server", "usr/sbin/nats-server"].map(|path| folder.join(path));
    let program = program.into_iter().find(|path| path.exists()).ok_or("the package holds no server")?;
    let version = Command::new(&program).arg("--version").output().map_err(|error| error.to_string())?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    if version.contains("v2.9") { Ok(program) } else { Err(format!("Debian's server is {version}, not 2.9")) }
}
