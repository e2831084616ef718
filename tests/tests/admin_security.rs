//! Who may drive a lattice from another machine: TLS, client certificates, tokens, and what a node refuses to begin.

pub(crate) mod authority;
mod browser;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lattice_tests::cli::{self, Said};
use lattice_tests::lattice::{Settings, node_program, start_and_fail};
use lattice_tests::{NatsServer, Node, artifacts, manifests, wait_until};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};

use authority::Authority;

const LATEST: Duration = Duration::from_secs(30);

/// A node, its server, and a folder for what it is secured with.
struct Site {
    node: Node,
    _nats: NatsServer,
    folder: TempDir,
}

impl Site {
    /// A node that listens there and is given these words; `{}` in them is the folder.
    async fn start(folder: TempDir, listen: &str, words: &[&str]) -> Self {
        let nats = NatsServer::start().await;
        let node = Node::start(settings(folder.path(), Some(nats.url()), listen, words)).await;
        Self { node, _nats: nats, folder }
    }

    /// How a client on this machine reaches it.
    fn admin(&self) -> String {
        self.node.ready().admin.replace("0.0.0.0", "127.0.0.1")
    }

    fn path(&self, file: &str) -> String {
        path(self.folder.path(), file)
    }

    /// Runs a command as a client that shows these files.
    async fn ask(&self, shown: &[&str], words: &[&str]) -> Said {
        let shown: Vec<String> = shown.iter().map(|word| word.replace("{}", &self.path(""))).collect();
        let words: Vec<&str> = ["-o", "json"]
            .into_iter()
            .chain(shown.iter().map(String::as_str))
            .chain(words.iter().copied())
            .collect();
        cli::lattice(&self.admin(), &words).await
    }

    /// Follows the events as a client that shows these files, until it is refused.
    fn follow(&self, shown: &[&str]) -> Followed {
        let shown = shown.iter().map(|word| word.replace("{}", &self.path("")));
        let mut command = tokio::process::Command::new(node_program());
        command.args(shown).args(["--admin", &self.admin(), "-o", "json", "events", "--follow"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Followed { child, lines }
    }

    async fn may(&self, shown: &[&str], words: &[&str]) -> Value {
        let said = self.ask(shown, words).await;
        assert_eq!(said.code, 0, "{shown:?} {words:?}: {said:?}");
        said.json()
    }

    /// The message with which it is refused, as an error of this kind.
    async fn may_not(&self, shown: &[&str], words: &[&str], kind: &str) -> String {
        let said = self.ask(shown, words).await;
        assert_eq!(said.code, 1, "{shown:?} {words:?}: {said:?}");
        let error = said.error();
        assert_eq!((error["kind"].as_str(), error["ran"].as_str()), (Some(kind), Some("no")), "{error}");
        let message = error["message"].as_str().unwrap().to_owned();
        assert!(!message.contains('\n'), "{message}");
        message
    }
}

/// A command that follows events.
struct Followed {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Followed {
    /// Reads on until something of that kind has happened.
    async fn hear_of(&mut self, kind: &str) {
        let until = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("the stream goes on");
                let row: Value = serde_json::from_str(&line).unwrap();
                if row["kind"] == kind {
                    return;
                }
            }
        };
        tokio::time::timeout(LATEST, until).await.unwrap_or_else(|_| panic!("no {kind}"));
    }

    /// The code with which it ends by itself, and what it says then.
    async fn end(self) -> (Option<i32>, String) {
        let ended =
            tokio::time::timeout(LATEST, self.child.wait_with_output()).await.expect("it ends").unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    }
}

fn path(folder: &Path, file: &str) -> String {
    folder.join(file).display().to_string()
}

fn settings(folder: &Path, nats: Option<String>, listen: &str, words: &[&str]) -> Settings {
    Settings {
        program: node_program(),
        name: "node".to_owned(),
        labels: Vec::new(),
        lattice: format!("test-{}", uuid::Uuid::new_v4().simple()),
        // Whoever is refused has not come so far as to ask for it.
        nats: Some(nats.unwrap_or_else(|| "nats://127.0.0.1:1".to_owned())),
        listen: listen.to_owned(),
        env: [].into(),
        args: words.iter().map(|word| word.replace("{}", &path(folder, ""))).collect(),
        folder: folder.join("node"),
    }
}

const TLS: [&str; 4] = ["--admin-tls-cert", "{}node.crt", "--admin-tls-key", "{}node.key"];
const TRUST: [&str; 2] = ["--admin-ca", "{}ca.pem"];
const LOOPBACK: &str = "127.0.0.1:0";
const EVERYWHERE: &str = "0.0.0.0:0";

/// A token as a user makes it: its secret is in the file `<name>.secret`, its entry is returned.
async fn token(folder: &Path, name: &str, role: &str, more: &[&str]) -> String {
    let file = path(folder, &format!("{name}.secret"));
    let words = ["-o", "json", "token", "new", "--role", role, "--name", name, "--out", &file];
    let said = cli::lattice("", &[&words[..], more].concat()).await;
    assert_eq!(said.code, 0, "{said:?}");
    said.json()["entry"].as_str().unwrap().to_owned()
}

fn project(folder: &Path, replicas: u32) -> String {
    std::fs::write(folder.join("greeter.wasm"), artifacts::bytes("greeter.wasm")).unwrap();
    std::fs::write(folder.join("lattice.toml"), manifests::greeter(replicas)).unwrap();
    path(folder, "lattice.toml")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_a_client_trusts_the_authority_that_it_is_given_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let other = Authority::new(folder.path(), "other");
    ca.sign("node");
    let site = Site::start(folder, LOOPBACK, &TLS).await;
    assert!(site.node.ready().admin.starts_with("https://"), "{:?}", site.node.ready());

    let nodes = site.may(&TRUST, &["nodes"]).await;
    assert_eq!(nodes[0]["admin"], site.node.ready().admin.as_str());
    let message = site.may_not(&["--admin-ca", &other.file()], &["nodes"], "untrusted").await;
    assert!(message.contains("--admin-ca"), "{message}");
    let by_name = site.admin().replace("127.0.0.1", "localhost");
    let message = site.may_not(&[&TRUST[..], &["--admin", &by_name]].concat(), &["nodes"], "untrusted").await;
    assert!(message.contains("another name"), "{message}");

    // A certificate that is replaced is shown from then on, without a restart; an old one is told as such.
    other.sign("node");
    let observe = async || site.ask(&["--admin-ca", &other.file()], &["nodes"]).await.code;
    wait_until("the new certificate is shown", LATEST, observe, |code| *code == 0).await;
    site.may_not(&TRUST, &["nodes"], "untrusted").await;
    ca.sign_until("node", 2002);
    let observe = async || site.ask(&TRUST, &["nodes"]).await.error()["message"].to_string();
    wait_until("the old certificate is shown", LATEST, observe, |message| message.contains("expired")).await;

    // What is of no use leaves the last good one in place.
    std::fs::write(site.path("node.key"), "no key").unwrap();
    let observe = async || site.node.output();
    wait_until("it says so", LATEST, observe, |said| said.contains("node.key")).await;
    let said = site.ask(&TRUST, &["nodes"]).await;
    assert!(said.error()["message"].as_str().unwrap().contains("expired"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_and_a_node_that_differ_about_tls_are_told_so() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new(folder.path(), "ca");
    let site = Site::start(folder, LOOPBACK, &[]).await;
    let tls = site.admin().replace("http://", "https://");
    let message = site.may_not(&[&TRUST[..], &["--admin", &tls]].concat(), &["nodes"], "tls").await;
    assert!(message.contains("http://"), "{message}");
    let message = site.may_not(&["--admin-ca", "{}none.pem", "--admin", &tls], &["nodes"], "io").await;
    assert!(message.contains("none.pem"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_client_authority_only_its_certificates_get_in() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let clients = Authority::new(folder.path(), "clients");
    let strangers = Authority::new(folder.path(), "strangers");
    ca.sign("node");
    clients.sign("good");
    clients.sign_until("late", 2002);
    strangers.sign("wrong");
    let words = [&TLS[..], &["--admin-client-ca", "{}clients.pem"]].concat();
    let site = Site::start(folder, EVERYWHERE, &words).await;
    let with = |name: &str| {
        let words = ["--admin-ca", "{}ca.pem", "--admin-cert", "{}NAME.crt", "--admin-key", "{}NAME.key"];
        words.map(|word| word.replace("NAME", name))
    };
    let (good, wrong, late) = (with("good"), with("wrong"), with("late"));
    let [good, wrong, late] = [&good, &wrong, &late].map(|words| words.each_ref().map(String::as_str));

    for _ in 0..10 {
        // The refusal comes after the client took the handshake for done, and must be told all the same.
        let message = site.may_not(&TRUST, &["nodes"], "unauthenticated").await;
        assert!(message.contains("--admin-cert"), "{message}");
    }
    let message = site.may_not(&wrong, &["nodes"], "unauthenticated").await;
    assert!(message.contains("--admin-client-ca"), "{message}");
    let message = site.may_not(&late, &["nodes"], "unauthenticated").await;
    assert!(message.contains("expired"), "{message}");

    // Without tokens such a certificate may do everything.
    let manifest = project(site.folder.path(), 1);
    site.may(&good, &["apply", &manifest]).await;
    assert_eq!(site.may(&good, &["call", "greeter", "hello", "\"Ada\""]).await, "Hello, Ada!");

    // With half of the pair nothing is asked.
    assert_eq!(site.ask(&good[..4], &["nodes"]).await.code, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_no_longer_vouched_for_loses_its_connection() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let (before, after) = (Authority::new(folder.path(), "before"), Authority::new(folder.path(), "after"));
    ca.sign("node");
    before.sign("leaves");
    after.sign("stays");
    let [of_before, of_after] = [&before, &after].map(|ca| std::fs::read_to_string(ca.file()).unwrap());
    let file = path(folder.path(), "clients.pem");
    std::fs::write(&file, &of_before).unwrap();
    let words = [&TLS[..], &["--admin-client-ca", "{}clients.pem"]].concat();
    let site = Site::start(folder, LOOPBACK, &words).await;
    let leaves = ["--admin-ca", "{}ca.pem", "--admin-cert", "{}leaves.crt", "--admin-key", "{}leaves.key"];
    let stays = ["--admin-ca", "{}ca.pem", "--admin-cert", "{}stays.crt", "--admin-key", "{}stays.key"];
    let mut followed = site.follow(&leaves);
    followed.hear_of("node-joined").await;
    site.may_not(&stays, &["nodes"], "unauthenticated").await;

    // While both are vouched for, both are in.
    std::fs::write(&file, of_before + &of_after).unwrap();
    let observe = async || site.ask(&stays, &["cordon", "node"]).await.code;
    wait_until("the second authority is known", LATEST, observe, |code| *code == 0).await;
    followed.hear_of("node-cordoned").await;

    // A connection that was let in by what was there before ends, and the next one is refused.
    std::fs::write(&file, of_after).unwrap();
    let (code, said) = followed.end().await;
    assert!(code == Some(1) && said.contains("unauthenticated"), "{code:?} {said}");
    site.may(&stays, &["nodes"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_may_do_what_its_role_says() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new(folder.path(), "ca").sign("node");
    let mut entries = token(folder.path(), "reader", "read", &[]).await;
    entries += &token(folder.path(), "writer", "write", &["--expires", "30d"]).await;
    entries += &token(folder.path(), "tapper", "tap", &[]).await;
    // One that was good once: made as any other, and its end moved.
    let old = token(folder.path(), "old", "write", &["--expires", "1h"]).await;
    let (kept, _) = old.split_once("expires = ").unwrap();
    entries += &format!("{kept}expires = 2020-02-02T20:20:20Z\n");
    token(folder.path(), "unknown", "write", &[]).await;
    std::fs::write(path(folder.path(), "tokens.toml"), entries).unwrap();
    let words = [&TLS[..], &["--admin-tokens", "{}tokens.toml"]].concat();
    let site = Site::start(folder, EVERYWHERE, &words).await;
    let with = |name: &str| {
        let words = ["--admin-ca", "{}ca.pem", "--admin-token", "{}NAME.secret"];
        words.map(|word| word.replace("NAME", name))
    };
    let names = ["reader", "writer", "tapper", "old", "unknown"].map(with);
    let [reader, writer, tapper, old, unknown] =
        names.each_ref().map(|words| words.each_ref().map(String::as_str));

    let message = site.may_not(&TRUST, &["nodes"], "unauthenticated").await;
    assert!(message.contains("--admin-token"), "{message}");
    site.may_not(&unknown, &["nodes"], "unauthenticated").await;
    let message = site.may_not(&old, &["nodes"], "token-expired").await;
    assert!(message.contains("2020-02-02") && message.contains("lattice token new"), "{message}");

    let manifest = project(site.folder.path(), 1);
    site.may_not(&reader, &["apply", &manifest], "denied").await;
    site.may(&writer, &["apply", &manifest]).await;
    assert_eq!(site.may(&reader, &["ps"]).await[0]["ready"], 1);
    site.may(&reader, &["explain", "greeter"]).await;
    site.may(&reader, &["history", "greeter"]).await;
    for change in [
        &["scale", "greeter", "2"][..],
        &["call", "greeter", "hello", "\"Ada\""],
        &["cordon", "node"],
        &["label", "node", "zone=a"],
        &["delete", "greeter"],
    ] {
        let message = site.may_not(&reader, change, "denied").await;
        assert!(message.contains("`write`") && message.contains("`reader`"), "{message}");
    }
    assert_eq!(site.may(&writer, &["call", "greeter", "hello", "\"Ada\""]).await, "Hello, Ada!");
    site.may(&writer, &["scale", "greeter", "2"]).await;

    // Whoever may look at messages has a role for that, and an event says by which token.
    let message = site.may_not(&reader, &["tap", "greeter"], "denied").await;
    assert!(message.contains("`tap`") && message.contains("`reader`"), "{message}");
    site.may_not(&tapper, &["scale", "greeter", "1"], "denied").await;
    let watching = site.ask(&tapper, &["tap", "greeter", "-n", "1"]);
    let calls = async {
        loop {
            site.may(&writer, &["call", "greeter", "hello", "\"Ada\""]).await;
        }
    };
    let said = tokio::select! {
        said = watching => said,
        () = calls => unreachable!(),
    };
    assert!(said.code == 0 && said.stdout.contains("Ada"), "{said:?}");
    let told = async || site.may(&reader, &["events"]).await.to_string();
    let by_name = |told: &String| told.contains("the token `tapper` watches messages no more, after ");
    wait_until("who watched is told", LATEST, told, by_name).await;
    assert!(!site.node.output().contains("lat_"), "secrets must not be logged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_change_while_the_node_runs() {
    let folder = tempfile::tempdir().unwrap();
    let one = token(folder.path(), "one", "write", &[]).await;
    let two = token(folder.path(), "two", "read", &[]).await;
    let file = path(folder.path(), "tokens.toml");
    std::fs::write(&file, &one).unwrap();
    // On loopback tokens may do without TLS.
    let mut site = Site::start(folder, LOOPBACK, &["--admin-tokens", "{}tokens.toml"]).await;
    let (first, second) = (["--admin-token", "{}one.secret"], ["--admin-token", "{}two.secret"]);
    site.may(&first, &["nodes"]).await;
    site.may_not(&second, &["nodes"], "unauthenticated").await;

    std::fs::write(&file, &two).unwrap();
    let observe = async || site.ask(&second, &["nodes"]).await.code;
    wait_until("the new token is known", LATEST, observe, |code| *code == 0).await;
    site.may_not(&first, &["nodes"], "unauthenticated").await;

    // A mistake is told by its line, and costs nobody who was in.
    std::fs::write(&file, format!("{two}\n[[token]]\nname = \"three\"\nrole = \"root\"\n")).unwrap();
    let observe = async || site.node.output();
    wait_until("the mistake is told", LATEST, observe, |said| {
        said.contains("tokens.toml:8: unknown variant `root`")
    })
    .await;
    site.may(&second, &["nodes"]).await;

    // A supervisor has no token.
    let address = site.admin().replace("http://", "");
    let mut plain = TcpStream::connect(&address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");

    // The same mistake at the start is no start.
    site.node.kill();
    let (status, said) = start_and_fail(site.node.settings().clone(), LATEST).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("tokens.toml:8: unknown variant `root`"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_loopback_a_node_starts_with_protection_or_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new(folder.path(), "ca").sign("node");
    let entry = token(folder.path(), "writer", "write", &[]).await;
    std::fs::write(path(folder.path(), "tokens.toml"), entry).unwrap();
    let tokens = ["--admin-tokens", "{}tokens.toml"];
    for (words, missing) in [
        (&[][..], "--admin-tls-cert"),
        (&tokens, "in the clear"),
        (&TLS, "--admin-client-ca"),
        (&TLS[..2], "--admin-tls-key"),
        (&["--admin-client-ca", "{}ca.pem"], "--admin-tls-cert"),
    ] {
        let settings = settings(folder.path(), None, EVERYWHERE, words);
        let (status, said) = start_and_fail(settings, LATEST).await;
        assert_eq!(status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(missing), "{words:?}: {said}");
    }
    let config = path(folder.path(), "lattice.toml");
    std::fs::write(&config, "listen = \"0.0.0.0:0\"\n[admin]\ninsecure = true\n").unwrap();

    let mut site = Site::start(folder, EVERYWHERE, &["--admin-insecure"]).await;
    assert!(site.node.ready().admin.starts_with("http://0.0.0.0:"), "{:?}", site.node.ready());
    site.may(&[], &["nodes"]).await;
    site.node.kill();
    // The file says the same as the flags.
    let site = Site::start(site.folder, EVERYWHERE, &["--config", &config]).await;
    site.may(&[], &["nodes"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_say_nothing_hold_up_nobody() {
    /// More than a node shakes hands with at once.
    const SILENT: usize = 600;
    let folder = tempfile::tempdir().unwrap();
    Authority::new(folder.path(), "ca").sign("node");
    let site = Site::start(folder, LOOPBACK, &TLS).await;
    let address = site.admin().replace("https://", "");
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    site.may(&TRUST, &["nodes"]).await;
    // Of those that came last none was given up for it.
    let mut byte = [0];
    let last = silent.last_mut().unwrap();
    assert!(last.try_read(&mut byte).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    // In the end all are.
    assert_eq!(tokio::time::timeout(LATEST, last.read(&mut byte)).await.unwrap().unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_shown_once_or_written_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let said = cli::lattice("", &["token", "new", "--role", "read", "-o", "json"]).await.json();
    assert!(said["secret"].as_str().unwrap().starts_with("lat_") && said["expires"].is_null(), "{said}");
    assert!(!said["entry"].as_str().unwrap().contains(said["secret"].as_str().unwrap()), "{said}");

    let file = path(folder.path(), "ci.secret");
    let words = ["token", "new", "--role", "write", "--name", "ci", "--expires", "30d", "--out", &file];
    let said = cli::lattice("", &words).await;
    let secret = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(said.stdout.starts_with("[[token]]\nname = \"ci\"\nrole = \"write\"\nsha256 = "), "{said:?}");
    assert!(!said.stdout.contains(secret.trim()) && !said.stderr.contains(secret.trim()), "{said:?}");

    let again = cli::lattice("", &[&["-o", "json"], &words[..]].concat()).await;
    assert_eq!((again.code, again.error()["kind"].as_str()), (1, Some("io")), "{again:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret, "a secret in use must not be lost");
    assert_eq!(cli::lattice("", &["token", "new", "--role", "admin"]).await.code, 2);
}
