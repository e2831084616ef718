//! The end of `demo --keep`: what to type next, and how to stop it all.

use super::narrator::{say, show_command, title};
use super::shell::Shell;
use super::stage::Stage;

pub fn explain(stage: &Stage, shell: &Shell) {
    title("It all runs on; this is how to play with it");
    say("In the repository's folder:");
    if let Some((_, admin, _)) = stage.nodes().next() {
        show_command(&format!("export LATTICE_ADMIN={admin}"));
    }
    show_command(&format!("alias lattice={}", shell.program().display()));
    for line in [
        "lattice ps",
        "lattice call greeter hello '\"Ada\"'",
        "lattice scale greeter 9",
        "lattice delete shop",
    ] {
        show_command(line);
    }
    say("Any NATS client can call the greeter too:");
    show_command(&format!("nats --server {} request lat.default.call.greeter.hello '\"Ada\"'", stage.nats));
    say("To take a node away, or to bring one more:");
    for (name, admin, id) in stage.nodes() {
        show_command(&format!("kill {id}      # {name}, {admin}"));
    }
    show_command(&format!(
        "lattice start --nats {} --name edge-2 --label tier=edge --listen 127.0.0.1:0 --data {}",
        stage.nats,
        stage.folder().join("edge-2").display()
    ));
    say("To stop it all:");
    let (nodes, rest): (Vec<_>, Vec<_>) =
        stage.ids().partition(|id| stage.nodes().any(|(_, _, node)| node == *id));
    let words = |ids: Vec<u32>| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let folder = stage.folder().display();
    // Nodes drain, for which they need NATS.
    show_command(&format!("kill {}; sleep 3; kill {}; sleep 1; rm -r {folder}", words(nodes), words(rest)));
}
