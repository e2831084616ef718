//! `lattice top` shows the lattice in a terminal of 80 columns and 24 lines, and does what its keys say.

use std::time::Duration;

use futures::StreamExt;
use lattice_tests::lattice::node_program;
use lattice_tests::load::Plan;
use lattice_tests::terminal::{self, Terminal};
use lattice_tests::{Lattice, cli, manifests, say, wait_for, wait_until};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(30);

/// The row of the screen that begins with a word.
fn row<'a>(screen: &'a str, word: &str) -> Option<&'a str> {
    screen.lines().find(|line| line.split_whitespace().next() == Some(word))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_fits_eighty_columns_and_its_keys_do_what_they_say() {
    let Some(tmux) = terminal::program("the terminal view").await else { return };
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(3)).await;
    lattice.apply(&manifests::misfit_with("grants = { log = true }")).await;
    lattice.apply(&manifests::bank_with("")).await;
    let load = lattice.load(&Plan::greet(50, Duration::from_secs(300), &[0, 1, 2]));
    let admin = lattice.nodes[0].ready().admin.clone();
    let terminal = Terminal::start(&tmux, (80, 24), &node_program(), &["top"], &admin).await;

    let busy = |screen: &str| {
        row(screen, "greeter").is_some_and(|row| {
            let columns: Vec<&str> = row.split_whitespace().collect();
            columns[1] == "3/3" && columns[2].parse::<f64>().is_ok_and(|rate| rate > 20.0)
        })
    };
    let screen = terminal.shows("all of it", LATEST, busy).await;
    say(&screen);
    assert_eq!(screen.lines().count(), 24);
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    for words in
        [&["NODE", "STATE", "CALLS/S", "LEASE", "NATS"][..], &["ACTOR", "READY", "P50", "P99", "TREND"]]
    {
        let line = screen.lines().find(|line| line.contains(words[0])).expect(words[0]);
        assert!(words.iter().all(|word| line.contains(word)), "{words:?} in {line}");
    }
    for node in &lattice.nodes {
        assert!(
            row(&screen, node.name()).is_some_and(|row| row.contains("ready")),
            "{} in {screen}",
            node.name()
        );
    }
    assert!(screen.contains("3/3 nodes") && screen.contains("3 actors"), "{screen}");
    assert!(row(&screen, "account").is_some_and(|row| row.contains("keys")), "{screen}");

    // Down to the greeter, and into it.
    terminal.press(&["Down", "Enter"]).await;
    let opened = |screen: &str| screen.contains("calls/s") && screen.contains("3 of 3 replicas ready");
    say(&terminal.shows("one actor", LATEST, opened).await);
    terminal.press(&["s", "5", "Enter"]).await;
    terminal.shows("that it is scaled", LATEST, |screen| screen.contains("5 of 5 replicas ready")).await;
    assert_eq!(lattice.actor(1, "greeter").await.desired, 5);

    // Its log, with a trap in it.
    terminal.press(&["Escape"]).await;
    terminal.shows("the overview again", LATEST, |screen| screen.contains("TREND")).await;
    terminal.press(&["Down", "l"]).await;
    terminal.shows("the log of misfit", LATEST, |screen| screen.contains("log of misfit")).await;
    lattice.call(0, "misfit", "trap", Value::Null).await.unwrap_err();
    say(&terminal.shows("the trap", LATEST, |screen| screen.contains("misfit.wasm!")).await);

    // It may become as small or large as it likes.
    terminal.press(&["Escape"]).await;
    terminal.shows("misfit again", LATEST, |screen| screen.contains("1 of 1 replicas ready")).await;
    terminal.press(&["Escape"]).await;
    terminal.shows("the overview once more", LATEST, |screen| screen.contains("TREND")).await;
    for (width, height) in [(20, 5), (200, 60), (80, 24)] {
        terminal.resize(width, height).await;
        let fits = move |screen: &str| {
            screen.lines().count() == usize::from(height) && (width < 80 || screen.contains("TREND"))
        };
        terminal.shows(&format!("{width} by {height}"), LATEST, fits).await;
    }

    // A node that is lost, and help.
    lattice.nodes[2].kill();
    let lost = lattice.nodes[2].name().to_owned();
    let gone = move |screen: &str| row(screen, &lost).is_none_or(|row| row.contains("gone"));
    terminal.shows("a node that is gone", LATEST, gone).await;
    terminal.press(&["?"]).await;
    terminal.shows("help", LATEST, |screen| screen.contains("how long a node's lease still runs")).await;
    // Any key ends the help.
    terminal.press(&["x"]).await;
    terminal.shows("the overview at last", LATEST, |screen| screen.contains("TREND")).await;
    terminal.press(&["q"]).await;
    assert_eq!(terminal.ended(LATEST).await, 0);
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_get_one_picture_with_rates_and_who_calls_whom() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::shop(2, "storefront.wasm")).await;
    let admin = lattice.nodes[1].ready().admin.clone();
    let calls = async {
        for turn in 0_usize.. {
            let arguments = json!({ "sku": "tea", "quantity": 1 });
            lattice.call(turn % 2, "storefront", "quote", arguments).await.unwrap();
        }
    };
    let look = async {
        let observe = async || cli::lattice(&admin, &["-o", "json", "top"]).await.json();
        let called = |picture: &Value| {
            let calls = picture["calls"].as_array().unwrap();
            let rate = |caller: Value, actor: &str| {
                let call = calls.iter().find(|call| call["caller"] == caller && call["actor"] == actor);
                call.and_then(|call| call["calls_per_second"].as_f64()).unwrap_or(0.0)
            };
            rate(Value::Null, "storefront") > 0.0
                && rate(json!("storefront"), "inventory") > 0.0
                && rate(json!("storefront"), "pricing") > 0.0
        };
        wait_for("who calls whom", LATEST, observe, called).await
    };
    let picture = tokio::select! {
        () = calls => unreachable!(),
        picture = look => picture,
    };
    assert_eq!(picture["nodes"].as_array().unwrap().len(), 2, "{picture}");
    let storefront =
        picture["actors"].as_array().unwrap().iter().find(|actor| actor["actor"] == "storefront").unwrap();
    assert_eq!((&storefront["ready"], &storefront["desired"]), (&json!(2), &json!(2)));
    assert!(storefront["p99_us"].as_f64().unwrap() > 10.0, "{storefront}");
    assert_eq!(storefront["nodes"].as_array().unwrap().len(), 2, "{storefront}");
    let one = cli::lattice(&admin, &["-o", "json", "top", "pricing"]).await.json();
    let names = |list: &str, field: &str| -> Vec<Value> {
        one[list].as_array().unwrap().iter().map(|entry| entry[field].clone()).collect()
    };
    assert_eq!(names("actors", "actor"), [json!("pricing")], "{one}");
    assert!(names("calls", "actor").iter().all(|actor| actor == "pricing"), "{one}");
    let none = cli::lattice(&admin, &["-o", "json", "top", "nobody"]).await;
    assert!(none.code == 1 && none.stderr.contains("no-such-actor"), "{none:?}");
    let said = cli::lattice(&admin, &["top"]).await;
    assert!(said.code == 2 && said.stderr.contains("terminal"), "{said:?}");
    // Nobody watches any more, and soon nobody is asked: there is a pause that is longer than that between two rounds.
    let client = lattice.nats.client().await;
    let mut asked = client.subscribe(format!("lat.{}.survey.>", lattice.id())).await.unwrap();
    let quiet = async || tokio::time::timeout(Duration::from_secs(3), asked.next()).await.is_err();
    // That is 30 seconds later, in case somebody is only on the way from one page to the next.
    wait_until("nobody is asked", 3 * LATEST, quiet, |quiet| *quiet).await;
}
