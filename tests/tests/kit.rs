//! The kit itself: what it starts can be relied on, and nothing it starts outlives a test.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::StreamExt;
use lattice_tests::process::{Process, workspace_program};
use lattice_tests::{NatsServer, wait_until};

const LATEST: Duration = Duration::from_secs(20);

fn runs(pid: u32) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty())
}

fn sleeper(folder: &Path) -> Process {
    let arguments = |command: &mut Command| _ = command.arg("1000");
    Process::start("sleeper", Path::new("sleep"), arguments, &folder.join("log"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_stops_and_comes_back_with_its_files() {
    let mut server = NatsServer::start().await;
    let client = server.client().await;
    let stream = async_nats::jetstream::new(client.clone());
    stream
        .create_stream(async_nats::jetstream::stream::Config { name: "s".into(), ..Default::default() })
        .await
        .unwrap();
    let mut subscription = client.subscribe("some.subject.>").await.unwrap();
    client.flush().await.unwrap();
    // What was flushed was written; when the server reads it is its own affair.
    let listed = async || server.subscriptions().await;
    let is_there = |subjects: &Vec<String>| subjects.contains(&"some.subject.>".to_owned());
    wait_until("the server lists the subscription", LATEST, listed, is_there).await;

    server.stop().await;
    assert!(async_nats::connect(server.url()).await.is_err());
    server.restart().await;
    let again = async_nats::jetstream::new(server.client().await);
    assert!(again.get_stream("s").await.is_ok());
    server.kill();
    server.restart().await;

    server.pause();
    assert!(tokio::time::timeout(Duration::from_millis(300), server.client()).await.is_err());
    server.resume();
    let observe = async || {
        client.publish("some.subject.x", "hello".into()).await.unwrap();
        tokio::time::timeout(Duration::from_millis(100), subscription.next()).await.is_ok()
    };
    wait_until("an old connection works again", LATEST, observe, |received| *received).await;
}

#[test]
fn a_process_ends_with_its_handle_and_with_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let pid = sleeper(folder.path()).pid();
    assert!(!runs(pid));

    let pid = std::sync::atomic::AtomicU32::new(0);
    let outcome = std::panic::catch_unwind(|| {
        let process = sleeper(folder.path());
        pid.store(process.pid(), std::sync::atomic::Ordering::Relaxed);
        panic!("a test that fails");
    });
    assert!(outcome.is_err());
    let panicked = pid.into_inner();
    assert!(panicked > 0 && !runs(panicked));
}

#[tokio::test]
async fn a_process_ends_when_its_test_process_is_killed() {
    let guard = workspace_program("LATTICE_GUARD", "guard");
    // A shell stands for the test process; it tells the number of its child and waits.
    let script = format!("{} sleep 1000 & echo $!; wait", guard.display());
    let mut parent = tokio::process::Command::new("sh")
        .args(["-c", &script])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let stdout = parent.stdout.take().unwrap();
    let line = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout))
        .next_line()
        .await
        .unwrap()
        .unwrap();
    let pid: u32 = line.trim().parse().unwrap();
    let is_sleep = async || std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    wait_until("the guard became sleep", LATEST, is_sleep, |words| words.starts_with("sleep")).await;
    parent.kill().await.unwrap();
    wait_until("the child is gone", LATEST, async || runs(pid), |alive| !alive).await;
}

#[tokio::test]
#[should_panic(expected = "last seen: 41")]
async fn waiting_in_vain_tells_what_was_seen_last() {
    wait_until("the answer", Duration::from_millis(50), async || 41, |seen| *seen == 42).await;
}

#[test]
fn what_is_paused_stands_still_when_that_returns() {
    let folder = tempfile::tempdir().unwrap();
    let process = sleeper(folder.path());
    let stat = format!("/proc/{}/stat", process.pid());
    for _ in 0..200 {
        process.pause();
        let stat = std::fs::read_to_string(&stat).unwrap();
        // The letter for its state follows its name, which is in parentheses.
        assert!(stat.contains(") T "), "{stat}");
        process.resume();
    }
}
