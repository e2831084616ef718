//! Lists come in pages that any node continues, while entries come and go.

use lattice_proto::admin::{GetHistoryRequest, ListActorsRequest, ListNodesRequest};
use lattice_tests::{Fault, Lattice, cli, manifests};

/// More than a client gets that does not say how many it wants.
const ACTORS: usize = 505;

fn names() -> Vec<String> {
    (0..ACTORS).map(|number| format!("actor-{number:03}")).collect()
}

fn manifest(names: &[String]) -> String {
    let actor = |name: &String| format!("[actors.{name}]\nartifact = \"greeter.wasm\"\nreplicas = 0\n");
    format!("[app]\nname = \"many\"\n\n{}", names.iter().map(actor).collect::<String>())
}

/// One page of the actors.
async fn page(lattice: &Lattice, via: usize, size: u32, token: &str) -> Result<(Vec<String>, String), Fault> {
    let request = ListActorsRequest { page_size: size, page_token: token.to_owned() };
    let page = lattice.admin(via).list_actors(request).await?.into_inner();
    Ok((page.actors.into_iter().map(|actor| actor.actor).collect(), page.next_page_token))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actors_come_in_pages_and_the_command_line_shows_all_of_them() {
    let lattice = Lattice::start(2).await;
    let names = names();
    lattice.apply(&manifest(&names)).await;

    let (first, token) = page(&lattice, 0, 200, "").await.unwrap();
    assert_eq!(first, names[..200]);
    let (second, token) = page(&lattice, 1, 200, &token).await.unwrap();
    assert_eq!(second, names[200..400]);
    // The last one that was shown goes, and the token still says where to go on.
    let fewer: Vec<String> = names.iter().filter(|name| *name != second.last().unwrap()).cloned().collect();
    lattice.apply(&manifest(&fewer)).await;
    let (third, token) = page(&lattice, 0, 200, &token).await.unwrap();
    assert_eq!((third.as_slice(), token.as_str()), (&names[400..], ""));

    let (usual, token) = page(&lattice, 1, 0, "").await.unwrap();
    assert_eq!((usual.len(), token.is_empty()), (500, false));
    assert_eq!(page(&lattice, 1, 1_000, "").await.unwrap().0, fewer);
    let said = cli::lattice(&lattice.nodes[0].ready().admin, &["-o", "json", "ps"]).await;
    assert_eq!(said.json().as_array().unwrap().len(), fewer.len(), "{}", said.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_and_revisions_come_in_pages_and_what_is_no_token_is_refused() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(1)).await;
    for replicas in 2..6 {
        lattice.scale(0, "greeter", replicas).await.unwrap();
    }
    let (mut nodes, mut page_token, mut first_token) = (Vec::new(), String::new(), None);
    loop {
        let request = ListNodesRequest { page_size: 1, page_token };
        let page = lattice.admin(nodes.len() % 3).list_nodes(request).await.unwrap().into_inner();
        assert_eq!(page.nodes.len(), 1);
        nodes.extend(page.nodes.into_iter().map(|node| node.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        first_token.get_or_insert_with(|| page_token.clone());
    }
    assert_eq!(nodes, ["node-0", "node-1", "node-2"]);

    let history = async |size: u32, token: &str| {
        let app = "greeter".to_owned();
        let request = GetHistoryRequest { app, page_size: size, page_token: token.to_owned() };
        let page = lattice.admin(1).get_history(request).await?.into_inner();
        let revisions: Vec<u64> = page.revisions.into_iter().map(|revision| revision.revision).collect();
        Ok::<_, tonic::Status>((revisions, page.next_page_token))
    };
    let (first, token) = history(3, "").await.unwrap();
    let (second, end) = history(3, &token).await.unwrap();
    assert_eq!((first, second, end), (vec![1, 2, 3], vec![4, 5], String::new()));

    // A token of another list is none of this one.
    let others = first_token.unwrap();
    for token in ["garbage", "AAAA", &others] {
        let fault = page(&lattice, 0, 0, token).await.unwrap_err();
        assert_eq!(fault.kind(), "invalid-request", "{token}: {fault}");
        assert!(fault.message.contains("next_page_token"), "{fault}");
        assert_eq!(Fault::from(history(0, token).await.unwrap_err()).kind(), "invalid-request", "{token}");
    }
    for size in [1_001, u32::MAX] {
        let fault = page(&lattice, 0, size, "").await.unwrap_err();
        assert!(fault.kind() == "invalid-request" && fault.message.contains("1000"), "{fault}");
    }
}
