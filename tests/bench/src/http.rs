//! A component that others have published, by HTTP under `wrk`: through the gateway of the node that runs it, the same with instances that
//! serve again, and through another node, against a bare server of the same component. All processes and `wrk` share the machine.

use std::path::Path;

use anyhow::{Context, bail};
use lattice_tests::{Lattice, http, published, wait_for, wrk};
use tokio::process::Command;

use crate::bare_http::Floor;
use crate::figure::{Bound, Figure};

/// How long one run of `wrk` takes, in seconds.
const SECONDS: u32 = 3;

pub async fn measure(runs: usize) -> anyhow::Result<Vec<Figure>> {
    let components = published::components("the benchmark of HTTP").await.context("no component to serve")?;
    let wrk = wrk::program("the benchmark of HTTP").await.context("nothing to measure with")?;
    let component = components.join("http_hello.wasm");
    let (floor, plain) = (Floor::start(&component, false).await?, Floor::start(&component, true).await?);

    let builder = Lattice::builder(2).label(0, "at=front").label(1, "at=back");
    let lattice = builder.arg("--http").arg("127.0.0.1:0").start().await;
    let hello = published::put(&mut lattice.admin(0), &components, "http_hello.wasm").await;
    let actor = |name: &str, line: &str| {
        format!(
            "\n[actors.{name}]\nartifact = \"{hello}\"\nhttp = {{ path = \"/{name}\" }}\n{line}\n\
             placement = {{ require = [\"at=back\"] }}\n"
        )
    };
    let actors = [actor("fresh", ""), actor("again", "reuse = true")].concat();
    lattice.apply(&format!("[app]\nname = \"hello\"\n{actors}")).await;
    let mut gateways = Vec::new();
    for node in 0..2 {
        let at = lattice.nodes[node].ready().http.clone().context("no gateway")?;
        let ask = async || http::get(&at, "/again").await.status;
        wait_for("its route", std::time::Duration::from_secs(30), ask, |status| *status == 200).await;
        gateways.push(at);
    }

    let mut figures = Vec::new();
    for connections in [1, 16, 64] {
        let against = |what: &str, floor: &'static str, bound| {
            Figure::new(format!("HTTP, {connections} connections, {what}"), "requests/s", floor, bound)
        };
        let figure = |what: &str, bound| against(what, "bare Wasmtime HTTP server", bound);
        // The bounds are for a machine that is busy.
        let busy = connections > 1;
        let mut here = figure("an instance per request", busy.then_some(Bound::AtLeast(0.8)));
        let mut again = figure("instances reused", busy.then_some(Bound::AtLeast(1.5)));
        let mut there = figure("through another node", busy.then_some(Bound::AtLeast(0.35)));
        // A node leaves out what Wasmtime keeps for async functions, and a server of one's own could as well.
        let mut alike =
            against("an instance per request, as plain", "the same without async functions", None);
        // One round to warm up, uncounted.
        for counted in (0..=runs).map(|run| run > 0) {
            let bare = load(&wrk, &floor.url, connections).await?;
            let bare_plain = load(&wrk, &plain.url, connections).await?;
            let local = load(&wrk, &format!("{}/fresh", gateways[1]), connections).await?;
            let reused = load(&wrk, &format!("{}/again", gateways[1]), connections).await?;
            let remote = load(&wrk, &format!("{}/fresh", gateways[0]), connections).await?;
            if counted {
                for (figure, value, bare) in [
                    (&mut here, local, bare),
                    (&mut alike, local, bare_plain),
                    (&mut again, reused, bare),
                    (&mut there, remote, bare),
                ] {
                    figure.lattice.push(value);
                    figure.floor.push(bare);
                }
            }
        }
        figures.extend([here, alike, again, there]);
    }
    Ok(figures)
}

/// Requests a second; an error when one was not answered as it should be.
async fn load(wrk: &Path, url: &str, connections: u32) -> anyhow::Result<f64> {
    let (connections, seconds) = (connections.to_string(), format!("{SECONDS}s"));
    let output = Command::new(wrk)
        .args(["--threads", "1", "--connections", &connections, "--duration", &seconds, url])
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || said.contains("Non-2xx") || said.contains("Socket errors") {
        bail!("wrk at {url}: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
    let rate =
        said.lines().find_map(|line| line.strip_prefix("Requests/sec:")).context("wrk gave no figure")?;
    Ok(rate.trim().parse()?)
}
