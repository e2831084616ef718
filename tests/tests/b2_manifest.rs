//! B2: a manifest error names the file, the line, the field and what is allowed there.

use lattice_tests::{Lattice, cli, manifests};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_error_names_its_line_and_field() {
    let lattice = Lattice::start(1).await;
    let table: [(&str, u32, &[&str]); 7] = [
        ("replcas = 3", 7, &["actors.greeter.replcas", "unknown field", "replicas"]),
        ("replicas = -1", 7, &["actors.greeter.replicas", "number"]),
        ("replicas = \"many\"", 7, &["actors.greeter.replicas"]),
        ("limits = { memory = \"64 apples\" }", 7, &["memory"]),
        ("ingress = [\"smtp\"]", 7, &["ingress", "nats"]),
        ("mode = \"strict\"", 7, &["mode", "keyed"]),
        ("placement = { require = [\"tier\"] }", 7, &["require"]),
    ];
    for (line, number, words) in table {
        let manifest = manifests::greeter_with(line).replace("ingress = [\"nats\"]\n", "concurrency = 1\n");
        let fault = lattice.begin_apply(0, &manifest).await.expect_err(line);
        assert_eq!(fault.kind(), "invalid-manifest", "{fault}");
        assert!(fault.message.contains(&format!("lattice.toml:{number}:")), "{line}: {fault}");
        for word in words {
            assert!(fault.message.contains(word), "{line}: `{word}` is missing in: {fault}");
        }
    }
    assert_eq!(lattice.actors(0).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_says_the_same_and_exits_with_1() {
    let lattice = Lattice::start(1).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lattice.toml");
    std::fs::write(&file, manifests::greeter_with("replcas = 3")).unwrap();
    let file = file.to_str().unwrap();

    let admin = &lattice.nodes[0].ready().admin;
    let said = cli::lattice(admin, &["apply", file]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains(&format!("{file}:7: actors.greeter.replcas: unknown field")), "{said:?}");
    let said = cli::lattice(admin, &["-o", "json", "apply", file]).await;
    assert_eq!((said.code, said.error()["kind"].as_str()), (1, Some("invalid-manifest")), "{said:?}");
    assert_eq!(said.stdout, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_sizes_and_numbers_are_refused_with_the_bound_and_change_nothing() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    let huge = format!("{}\n# {}\n", manifests::greeter(1), "x".repeat(10 << 20));
    let fault = lattice.try_apply(0, &huge).await.unwrap_err();
    assert_eq!(fault.kind(), "invalid-manifest", "{}", fault.kind());
    assert!(fault.message.contains("1 MiB") || fault.message.contains("1048576"), "{fault}");
    for line in [
        "replicas = -1",
        "replicas = 10001",
        "replicas = 99999999999999999999",
        "replicas = { min = -1, max = 2, target_inflight = 1 }",
        "mailbox = 0",
        "concurrency = -3",
        "limits = { memory = \"-64MiB\" }",
        "limits = { cpu = -1 }",
        "update = { surge = -1 }",
        "update = { canary = \"-10%\" }",
    ] {
        let fault = lattice.try_apply(0, &manifests::greeter_with(line)).await.unwrap_err();
        assert_eq!(fault.kind(), "invalid-manifest", "{line}: {fault}");
        assert!(fault.message.contains("lattice.toml"), "{line}: {fault}");
    }
    let fault = lattice.scale(0, "greeter", u32::MAX).await.unwrap_err();
    assert_eq!((fault.kind(), fault.message.contains("10000")), ("invalid-request", true), "{fault}");
    let fault = lattice.scale(0, "nobody", 1).await.unwrap_err();
    assert_eq!((fault.kind(), fault.message.contains("lattice ps")), ("not-found", true), "{fault}");
    assert_eq!(lattice.history(0, "greeter").await.len(), 1);
}
