//! The page of a node shows the lattice, goes on showing it, and shows nothing to be made of what is forged.

use std::time::Duration;

use lattice_tests::http::{self, Events};
use lattice_tests::load::Plan;
use lattice_tests::{Lattice, manifests, wait_for, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

/// The tile that says how many nodes are ready.
fn nodes(ready: &str) -> String {
    let tone = if ready == "3 of 3" || ready == "2 of 2" { "" } else { "wait" };
    format!(r#"<dt>Nodes ready</dt><dd class="{tone}">{ready}</dd>"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_nodes_actors_apps_and_who_calls_whom() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(3)).await;
    lattice.apply(&manifests::misfit_with("grants = { log = true }")).await;
    lattice.apply(&manifests::bank_with("")).await;
    lattice.call(0, "misfit", "trap", serde_json::Value::Null).await.unwrap_err();
    let load = lattice.load(&Plan::greet(50, Duration::from_secs(300), &[0, 1, 2]));
    let admin = lattice.nodes[1].ready().admin.clone();

    // A node that is busy may miss a picture, and what is declared is read every few seconds.
    let page = async || http::get(&admin, "/").await.body;
    let ready = nodes("3 of 3");
    let parts = [
        r#"id="graph-greeter""#,
        "node-0",
        "node-1",
        "node-2",
        &ready,
        r#"href="/actors/account""#,
        "outside",
    ];
    wait_for("all of it is shown", LATEST, page, |page: &String| {
        parts.iter().all(|part| page.contains(part))
    })
    .await;

    // An actor: what it does, where, what it said, and what happened to it.
    let of = async |actor: &str| http::get(&admin, &format!("/actors/{actor}")).await;
    let greeter = of("greeter").await;
    assert_eq!((greeter.status, greeter.header("content-type")), (200, "text/html; charset=utf-8"));
    let page = async || of("greeter").await.body;
    let parts = ["replicated actor of greeter", "3 of 3", "Who calls it", "Nothing was written yet."];
    wait_for("the greeter", LATEST, page, |page: &String| parts.iter().all(|part| page.contains(part))).await;
    // What was before somebody looked is there, as all nodes remember it.
    let charts = async || of("greeter").await.body;
    wait_for("what was before", LATEST, charts, |page: &String| page.contains("<polyline")).await;
    let misfit = async || of("misfit").await.body;
    let trapped = |page: &String| page.contains("actor-crashed") && page.contains("panicked at");
    wait_for("the trap is shown with its log", LATEST, misfit, trapped).await;
    assert_eq!(of("nobody").await.status, 404);
    assert!(http::get(&admin, "/events").await.body.contains("actor-crashed"));

    // A call that failed, step by step, with why; it went from the node that was asked to the one that has misfit.
    let listed = async || http::get(&admin, "/traces").await.body;
    let listed = wait_for("the trace is listed", LATEST, listed, |page| page.contains("misfit/trap")).await;
    let row = listed.split("<tr>").find(|row| row.contains("misfit/trap")).unwrap();
    let link = row.split("href=\"/traces/").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(of("misfit").await.body.contains(link), "the actor's page lists it as well");
    assert!(!of("greeter").await.body.contains(link));
    let trace = http::get(&admin, &format!("/traces/{link}")).await;
    for part in ["misfit/trap", "attempt", "queue", "turn", "exception.stacktrace", "misfit.wasm!", "<rect"] {
        assert!(trace.body.contains(part), "{part} in {}", trace.body);
    }
    assert_eq!(http::get(&admin, &format!("/traces/{}", "0".repeat(32))).await.status, 404);

    // Browsers are to load nothing from elsewhere, and nothing that stands in the page.
    let page = http::get(&admin, "/").await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "{}", page.body);
    assert!(!page.body.contains("style=") && !page.body.contains("onclick"), "{}", page.body);
    for (file, kind) in [("style.css", "text/css"), ("live.js", "text/javascript")] {
        assert!(page.body.contains(&format!("/assets/{file}")));
        let asset = http::get(&admin, &format!("/assets/{file}")).await;
        assert!(asset.status == 200 && asset.header("content-type").starts_with(kind), "{asset:?}");
    }

    // An open page is sent what changes, and is told of a node that is lost.
    let mut open = Events::open(&admin, "/live?page=/").await.unwrap();
    lattice.nodes[2].kill();
    loop {
        let next = tokio::time::timeout(LATEST, open.next()).await.expect("the page is sent what changes");
        let sent = next.expect("the stream goes on");
        assert!(sent.contains("Who calls whom") && !sent.contains("<script"), "{sent}");
        if sent.contains(&nodes("2 of 3")) || sent.contains(&nodes("2 of 2")) {
            break;
        }
    }
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forged_is_no_page() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::misfit_with("grants = { log = true }")).await;
    // What a guest says stays text.
    let script = "<script>alert(1)</script>";
    lattice.call(0, "misfit", "log", json!(script)).await.unwrap();
    let admin = lattice.nodes[0].ready().admin.clone();
    let page = async || http::get(&admin, "/actors/misfit").await.body;
    let shown = wait_for("the line is shown", LATEST, page, |page| page.contains("alert(1)")).await;
    assert!(shown.contains("&lt;script&gt;alert(1)") && !shown.contains(script), "{shown}");

    for path in [
        "/actors/%3Cscript%3E",
        "/actors/..%2f..%2fetc",
        "/actors/UPPER",
        "/actors/%ff",
        "/actors/a/b",
        "/traces/x",
        "/traces/..%2f",
    ] {
        let answer = http::get(&admin, path).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        assert!(!answer.body.contains("<script>"), "{answer:?}");
    }
    let long = format!("/actors/{}", "a".repeat(5_000));
    assert_eq!(http::get(&admin, &long).await.status, 404);
    for page in
        ["", "?page=", "?page=//evil.example", "?page=/actors/%3Cscript%3E", "?page=/events", "?page=%ff"]
    {
        let Err(refused) = Events::open(&admin, &format!("/live{page}")).await else { panic!("{page}") };
        assert_eq!(refused.status, 400, "{page}: {refused:?}");
    }
    assert_eq!(http::post(&admin, "/", "all=1").await.status, 405);
    // Neither is what another website makes a browser send; a link from there may be followed.
    let elsewhere = |mode| [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", mode)];
    let call = [&elsewhere("no-cors")[..], &[("content-type", "text/plain")]].concat();
    assert_eq!(
        http::post_with(&admin, "/lattice.admin.v1.Admin/ListNodes", &call, "\0\0\0\0\0").await.status,
        403
    );
    assert_eq!(http::get_with(&admin, "/events", &elsewhere("cors")).await.status, 403);
    assert_eq!(http::get_with(&admin, "/events", &elsewhere("navigate")).await.status, 200);
    // Nor is a node asked by a name that its machine does not have, as by one that somebody made to lead here.
    for (host, status) in [("evil.example", 403), ("localhost:7700", 200), ("[::1]:7700", 200)] {
        let answer = http::get_with(&admin, "/", &[("host", host)]).await;
        assert_eq!(answer.status, status, "{host}: {answer:?}");
    }
    // The node has taken no harm.
    assert_eq!(lattice.call(0, "misfit", "echo", json!("x")).await.unwrap(), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_pages_than_a_node_serves_are_refused_and_those_that_close_make_room() {
    let mut lattice = Lattice::start(1).await;
    let admin = lattice.nodes[0].ready().admin.clone();
    let mut open = Vec::new();
    let refused = loop {
        match Events::open(&admin, "/live?page=/").await {
            Ok(events) => open.push(events),
            Err(refused) => break refused,
        }
        assert!(open.len() <= 1_000, "somebody must be refused");
    };
    assert_eq!((refused.status, open.len()), (503, 256), "{refused:?}");
    let first = open.first_mut().unwrap().next();
    assert!(tokio::time::timeout(LATEST, first).await.unwrap().unwrap().contains("node-0"));
    open.clear();
    let again = async || Events::open(&admin, "/live?page=/").await.is_ok();
    wait_until("there is room again", LATEST, again, |opened| *opened).await;
    // All that is open is closed when the node ends, which does not wait for it.
    let mut last = Events::open(&admin, "/live?page=/").await.unwrap();
    assert!(lattice.nodes[0].terminate().await.success());
    let end = async { while last.next().await.is_some() {} };
    tokio::time::timeout(LATEST, end).await.expect("the stream ends");
}
