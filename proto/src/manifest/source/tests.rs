//! Every mistake is named with its line, its field and what is allowed.

use proptest::prelude::*;

use super::*;
use crate::manifest::{Keyed, Percent, Replicas, Share};

fn with(lines: &str) -> String {
    format!("[app]\nname = \"shop\"\n\n[actors.cart]\nartifact = \"cart.wasm\"\n{lines}\n")
}

#[test]
fn a_full_manifest_is_understood() {
    let text = with(
        "replicas = 3\nconcurrency = 8\ningress = [\"nats\"]\nmailbox = 16\nbuild = \"cart\"\n\
         placement = { require = [\"tier=cloud\"] }\nlimits = { memory = \"16MiB\", turn = \"1s\", payload = \"2MiB\" }\n\
         grants = { call = [\"pricing\"], log = true }\nenv = { GREETING = \"Hello\" }",
    );
    let manifest = Manifest::parse(&text, "lattice.toml").unwrap();
    let actor = &manifest.actors["cart"];
    assert_eq!(actor.artifact, Artifact::Path("cart.wasm".into()));
    assert_eq!(actor.settings.placement.require, ["tier=cloud".parse().unwrap()].into());
    assert!(actor.settings.limits.reserved, "what is named is claimed");
    assert_eq!(actor.settings.limits.memory, Bytes(16 << 20));
    assert!(actor.settings.grants.call.contains("pricing"));
    assert!(actor.settings.grants.log);
}

#[test]
fn stores_containers_and_configuration_are_granted_by_name() {
    let text = with(
        "grants = { keyvalue = [\"default\", \"sessions\"], blobstore = [\"photos\"] }\nconfig = { \"a key\" = \"b\" }",
    );
    let settings = Manifest::parse(&text, "lattice.toml").unwrap().actors["cart"].settings.clone();
    let name = |text: &str| text.parse::<StoreName>().unwrap();
    assert_eq!(settings.grants.keyvalue, [name("default"), name("sessions")].into());
    assert!(settings.grants.blobstore.contain(&name("photos")));
    assert!(!settings.grants.blobstore.contain(&name("others")));
    assert_eq!(settings.config["a key"], "b");
    let any = Manifest::parse(&with("grants = { blobstore = [\"*\"] }"), "lattice.toml").unwrap();
    assert!(any.actors["cart"].settings.grants.blobstore.contain(&name("others")));
    // What is not named is not in the record, which an older node reads as well.
    let record = serde_json::to_string(&Settings::default()).unwrap();
    assert!(!record.contains("keyvalue") && !record.contains("blobstore") && !record.contains("config"));
    let many = vec![format!("\"s{}\"", 1); bound::STORES + 1].join(", ");
    assert!(Manifest::parse(&with(&format!("grants = {{ keyvalue = [{many}] }}")), "m").is_err());
    let large = "x".repeat(bound::CONFIG);
    assert!(Manifest::parse(&with(&format!("config = {{ a = \"{large}\" }}")), "m").is_err());
}

#[test]
fn topics_are_subscribed_to_by_patterns_and_handled_by_operations() {
    let text = with(
        "subscribe = [\"orders.>\", { topic = \"stock.*.low\", operation = \"reorder\" }]\n\
         grants = { publish = [\"orders.created\", \"audit.>\"] }",
    );
    let settings = Manifest::parse(&text, "lattice.toml").unwrap().actors["cart"].settings.clone();
    let subscribed: Vec<_> =
        settings.subscribe.iter().map(|one| (one.topic.as_str(), one.operation.as_str())).collect();
    assert_eq!(subscribed, [("orders.>", "on_message"), ("stock.*.low", "reorder")]);
    let may = |topic: &str| settings.grants.lets_publish(&topic.parse().unwrap());
    assert!(may("orders.created") && may("audit.a.b") && !may("orders.changed") && !may("audit"));
    // What is not named is not in the record, which an older node reads as well.
    let record = serde_json::to_string(&Settings::default()).unwrap();
    assert!(!record.contains("subscribe") && !record.contains("publish"));
    let many = (0..=bound::TOPICS).map(|n| format!("\"t{n}\"")).collect::<Vec<_>>().join(", ");
    for lines in [format!("subscribe = [{many}]"), format!("grants = {{ publish = [{many}] }}")] {
        let error = Manifest::parse(&with(&lines), "m").unwrap_err();
        assert!(error.message.contains("at most 64"), "{error}");
    }
}

#[test]
fn links_name_who_answers_an_interface() {
    let text = with("links = { \"acme:shop/pricing\" = \"pricing\", \"acme:shop/stock@1.2.0\" = \"stock\" }");
    let settings = Manifest::parse(&text, "lattice.toml").unwrap().actors["cart"].settings.clone();
    let link = |import: &str| settings.link(&import.parse().unwrap()).map(ActorName::as_str);
    assert_eq!(link("acme:shop/pricing@0.3.0"), Some("pricing"), "of any version");
    assert_eq!(link("acme:shop/pricing"), Some("pricing"));
    assert_eq!(link("acme:shop/stock@1.2.0"), Some("stock"));
    assert_eq!((link("acme:shop/stock@1.2.1"), link("acme:shop/stock")), (None, None));
    let stored = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&stored).unwrap(), settings);
    // What is not named is not in the record, which an older node reads as well.
    assert!(!serde_json::to_string(&Settings::default()).unwrap().contains("links"));
    let many: Vec<_> = (0..=bound::LINKS).map(|n| format!("\"a:b/c{n}\" = \"d\"")).collect();
    let error = Manifest::parse(&with(&format!("links = {{ {} }}", many.join(", "))), "m").unwrap_err();
    assert!(error.message.contains("at most 64"), "{error}");
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let manifest = Manifest::parse(&with(""), "lattice.toml").unwrap();
    assert_eq!(manifest.actors["cart"].settings, Settings::default());
}

#[test]
fn mistakes_are_named_with_line_field_and_what_is_allowed() {
    let cases = [
        ("http = 3", 6, "actors.cart.http", "methods"),
        ("http = []", 6, "actors.cart.http", "1 to 256"),
        ("http = { hots = \"a\" }", 6, "actors.cart.http", "unknown field `hots`"),
        ("http = { host = \"A:80\" }", 6, "actors.cart.http.host", "small letters"),
        ("http = [{ path = \"/\" }, { path = \"/actors\" }]", 6, "actors.cart.http.path", "typed actors"),
        ("reuse = true", 6, "actors.cart.reuse", "only an actor with `http`"),
        ("http = { methods = [] }", 6, "actors.cart.http.methods", "a list"),
        ("http = { methods = [\"get\"] }", 6, "actors.cart.http.methods", "capital"),
        ("kind = \"keyed\"\nhttp = {}", 7, "actors.cart.http", "ingress"),
        ("config = 3", 6, "actors.cart.config", "map"),
        ("config = { a = 3 }", 6, "actors.cart.config", "string"),
        ("grants = { keyvalue = [\"*\"] }", 6, "actors.cart.grants.keyvalue", "lower case"),
        ("grants = { blobstore = [\"My Photos\"] }", 6, "actors.cart.grants.blobstore", "lower case"),
        ("subscribe = \"orders.>\"", 6, "actors.cart.subscribe", "sequence"),
        ("subscribe = [3]", 6, "actors.cart.subscribe", "`\"orders.>\"`"),
        ("subscribe = [\"orders.\"]", 6, "actors.cart.subscribe", "`>` for all that follow"),
        ("subscribe = [\"a\",\n\"a b\"]", 7, "actors.cart.subscribe", "`a b` is no pattern of topics"),
        ("subscribe = [\"a.*\", \"*.b\"]", 6, "actors.cart.subscribe", "`*.b` and `a.*` stand for the same"),
        ("subscribe = [{ topic = \"a\", key = \"b\" }]", 6, "actors.cart.subscribe", "unknown field `key`"),
        ("subscribe = [{ operation = \"a\" }]", 6, "actors.cart.subscribe", "`{ topic = "),
        (
            "subscribe = [{ topic = \"a\", operation = \"b c\" }]",
            6,
            "actors.cart.subscribe",
            "`b c` is no operation",
        ),
        ("kind = \"keyed\"\nsubscribe = [\"a\"]", 7, "actors.cart.subscribe", "for no key"),
        ("http = {}\nsubscribe = [\"a\"]", 7, "actors.cart.subscribe", "let another one subscribe"),
        ("grants = { publish = [\"a.>.b\"] }", 6, "actors.cart.grants.publish", "`a.>.b` is no pattern"),
        ("replcas = 3", 6, "actors.cart.replcas", "expected one of"),
        ("replicas = -1", 6, "actors.cart.replicas", "0 to 10000"),
        ("replicas = \"many\"", 6, "actors.cart.replicas", "0 to 10000"),
        ("replicas = { min = 3, max = 2, target_inflight = 1 }", 6, "actors.cart.replicas.min", "more than"),
        ("replicas = { max = 2 }", 6, "actors.cart.replicas.target_inflight", "missing"),
        ("replicas = { mox = 2 }", 6, "actors.cart.replicas.mox", "unknown field"),
        ("replicas = { max = 2, target_inflight = -8 }", 6, "actors.cart.replicas.target_inflight", "from 1"),
        (
            "replicas = { max = 2, target_inflight = 8, target_wait = \"0s\" }",
            6,
            "actors.cart.replicas.target_wait",
            "more",
        ),
        (
            "replicas = { max = 2, target_inflight = 8, down_after = 5 }",
            6,
            "actors.cart.replicas.down_after",
            "a time",
        ),
        (
            "replicas = { max = 2, target_inflight = 8, up_after = \"2h\" }",
            6,
            "actors.cart.replicas.up_after",
            "1h",
        ),
        ("concurrency = 0", 6, "actors.cart.concurrency", "1 to"),
        ("mailbox = \"big\"", 6, "actors.cart.mailbox", "expected"),
        ("kind = \"singleton\"", 6, "actors.cart.kind", "expected `replicated` or `keyed`"),
        ("idle = \"2m\"", 6, "actors.cart.idle", "only keyed actors"),
        ("mode = \"strict\"", 6, "actors.cart.mode", "only keyed actors"),
        ("limits = { state = \"1MiB\" }", 6, "actors.cart.limits.state", "only keyed actors"),
        ("kind = \"keyed\"\nreplicas = 3", 7, "actors.cart.replicas", "one activation for each key"),
        ("kind = \"keyed\"\nconcurrency = 1", 7, "actors.cart.concurrency", "one message at a time"),
        ("kind = \"keyed\"\nupdate = { canary = \"5%\" }", 7, "actors.cart.update.canary", "cannot share"),
        ("kind = \"keyed\"\nidle = \"0s\"", 7, "actors.cart.idle", "100ms"),
        ("kind = \"keyed\"\nmode = \"lax\"", 7, "actors.cart.mode", "`strict`"),
        ("kind = \"keyed\"\nlimits = { state = \"1GiB\" }", 7, "actors.cart.limits.state", "64MiB"),
        ("ingress = [\"ftp\"]", 6, "actors.cart.ingress", "`http` or `nats`"),
        ("placement = { require = [\"tier\"] }", 6, "actors.cart.placement.require", "key=value"),
        ("placement = { require = [\"a=b\", \"a=c\"] }", 6, "actors.cart.placement.require", "no node"),
        (
            "placement = { require = [\"a=b\"], forbid = [\"a=b\"] }",
            6,
            "actors.cart.placement.forbid",
            "no node",
        ),
        ("placement = { spread = \"a zone\" }", 6, "actors.cart.placement.spread", "the key of a label"),
        ("placement = { apart = [\"No\"] }", 6, "actors.cart.placement.apart", "lower case"),
        ("update = { surge = \"lots\" }", 6, "actors.cart.update.surge", "25%"),
        ("update = { surge = 0 }", 6, "actors.cart.update.surge", "ever be replaced"),
        ("update = { failures = \"101%\" }", 6, "actors.cart.update.failures", "25%"),
        ("update = { observe = \"2h\" }", 6, "actors.cart.update.observe", "1h"),
        ("update = { canary = \"100%\" }", 6, "actors.cart.update.canary", "`99%`"),
        ("update = { canary = \"some\" }", 6, "actors.cart.update.canary", "a part"),
        ("limits = { cpu = -1 }", 6, "actors.cart.limits.cpu", "0.25"),
        ("\n\nlimits = { memory = \"64MB\" }", 8, "actors.cart.limits.memory", "64MiB"),
        ("limits = { memory = \"8GiB\" }", 6, "actors.cart.limits.memory", "4GiB"),
        ("limits = { memry = \"8GiB\" }", 6, "actors.cart.limits.memry", "expected one of"),
        ("limits = { turn = \"0s\" }", 6, "actors.cart.limits.turn", "10ms"),
        ("grants = { call = [\"No\"] }", 6, "actors.cart.grants.call", "lower case"),
        ("links = 3", 6, "actors.cart.links", "map"),
        ("links = { pricing = \"pricing\" }", 6, "actors.cart.links", "namespace:package/interface"),
        ("links = { \"acme:shop/pricing@1\" = \"pricing\" }", 6, "actors.cart.links", "@1.2.0"),
        ("links = { \"wasi:http/types\" = \"pricing\" }", 6, "actors.cart.links", "the node itself"),
        ("links = { \"acme:shop/pricing\" = 3 }", 6, "actors.cart.links", "string"),
        (
            "[actors.cart.links]\n\"acme:shop/pricing\" = \"pricing\"\n\"acme:shop/stock\" = \"My Stock\"",
            8,
            "actors.cart.links.acme:shop/stock",
            "lower case",
        ),
        (
            "grants = { http = [\"api.example.com\"] }",
            6,
            "actors.cart.grants.http",
            "https://api.example.com",
        ),
        ("grants = { http = [\"https://a.example/x\"] }", 6, "actors.cart.grants.http", "without a path"),
        ("grants = { http = [\"http://127.1\"] }", 6, "actors.cart.grants.http", "four numbers"),
        ("grants = { http = [\"http://a.example:0\"] }", 6, "actors.cart.grants.http", "1 to 65535"),
        ("grants = { http = [3] }", 6, "actors.cart.grants.http", "private = true"),
        ("grants = { http = [{ uri = \"x\" }] }", 6, "actors.cart.grants.http", "unknown field `uri`"),
        (
            "grants = { http = [\n\"http://a.example\",\n{ url = \"http://*.local\", private = true }] }",
            8,
            "actors.cart.grants.http",
            "exact name",
        ),
        ("[actors.Cart]\nartifact = \"x\"", 6, "actors.Cart", "lower case"),
        ("[actors.b]\nreplicas = 1", 6, "actors.b", "artifact"),
        ("[actors.b]\nartifact = \"/etc/passwd\"", 7, "actors.b.artifact", "relative"),
        ("[actors.b]\nartifact = \"sha256:12\"", 7, "actors.b.artifact", "64 hexadecimal"),
        ("[actors.b]\nartifact = \"oci://ghcr.io/acme/b\"", 7, "actors.b.artifact", "name the tag"),
        ("[actors.b]\nartifact = \"oci://b:1\"", 7, "actors.b.artifact", "name the registry"),
        ("[actors.external]\nartifact = \"x\"", 6, "actors.external", "outside"),
        ("[ap]", 6, "ap", "unknown field"),
        ("replicas == 3", 6, "", ""),
    ];
    for (lines, line, field, message) in cases {
        let error = Manifest::parse(&with(lines), "lattice.toml").unwrap_err();
        let shown = error.to_string();
        assert_eq!(error.line, line, "{lines}: {shown}");
        if !field.is_empty() {
            assert_eq!(error.field, field, "{lines}: {shown}");
        }
        assert!(error.message.contains(message), "{lines}: {shown}");
        assert!(shown.starts_with("lattice.toml:"), "{shown}");
    }
}

#[test]
fn routes_are_read_one_or_many() {
    let read = |lines: &str| {
        let manifest = Manifest::parse(&with(lines), "lattice.toml").unwrap();
        let settings = &manifest.actors["cart"].settings;
        let routes: Vec<String> = settings.http.iter().map(ToString::to_string).collect();
        (routes, settings.concurrency)
    };
    assert_eq!(read("http = {}"), (vec!["/".to_owned()], 64));
    let several = "http = [{ host = \"a.b\", path = \"/x/\" }, { path = \"/y\", methods = [\"GET\", \"POST\"] }]\nconcurrency = 2";
    assert_eq!(read(several), (vec!["a.b/x".to_owned(), "GET,POST /y".to_owned()], 2));
}

#[test]
fn servers_are_granted_by_text_or_table() {
    let grants = |lines: &str| {
        let manifest = Manifest::parse(&with(lines), "lattice.toml");
        manifest.map(|manifest| manifest.actors["cart"].settings.grants.http.clone())
    };
    let text = "grants = { http = [\"https://a.example\", { url = \"http://b.local:*\", private = true }] }";
    let read = grants(text).unwrap();
    let shown: Vec<_> = read.iter().map(|grant| (grant.url.to_string(), grant.private)).collect();
    assert_eq!(shown, [("https://a.example".to_owned(), false), ("http://b.local:*".to_owned(), true)]);
    let many = vec!["\"http://a.example\""; 257].join(", ");
    let error = grants(&format!("grants = {{ http = [{many}] }}")).unwrap_err();
    assert!(error.message.contains("256"), "{error}");
}

#[test]
fn an_app_without_actors_is_refused() {
    let error = Manifest::parse("[app]\nname = \"shop\"\n", "m").unwrap_err();
    assert_eq!(error.field, "actors");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = Manifest::parse(&text, "m");
    }

    #[test]
    fn no_damaged_manifest_panics(at in 0usize..200, with_char in any::<char>()) {
        let text = with("replicas = 3\nlimits = { memory = \"16MiB\" }");
        let at = text.char_indices().nth(at % text.len()).map_or(0, |(at, _)| at);
        let text = format!("{}{with_char}{}", &text[..at], &text[at..]);
        let _ = Manifest::parse(&text, "m");
    }
}

#[test]
fn placement_and_updates_are_read_as_they_are_written() {
    let text = with(
        "replicas = \"each\"\nplacement = { prefer = [\"zone=a\"], forbid = [\"tier=edge\"], spread = \"zone\", apart = [\"cart\"] }\n\
         update = { surge = 2, unavailable = \"10%\", observe = \"5s\", failures = \"1%\" }\nlimits = { cpu = 0.25 }",
    );
    let settings = &Manifest::parse(&text, "lattice.toml").unwrap().actors["cart"].settings;
    assert_eq!(settings.replicas, Replicas::EACH);
    assert_eq!(settings.placement.spread.as_deref(), Some("zone"));
    assert!(settings.placement.apart.contains("cart"));
    assert_eq!(settings.limits.cpu_millis, 250);
    assert_eq!((settings.update.surge, settings.update.unavailable.of(30)), (Share::Count(2), 3));
    assert_eq!((settings.update.observe, settings.update.failures), (Millis(5_000), Percent(1)));
}

#[test]
fn keyed_actors_say_how_long_they_stay_and_how_sure_they_want_to_be() {
    let text = with("kind = \"keyed\"\nidle = \"30s\"\nmode = \"strict\"\nlimits = { state = \"2MiB\" }");
    let settings = &Manifest::parse(&text, "lattice.toml").unwrap().actors["cart"].settings;
    let keyed = settings.kind.keyed().unwrap();
    assert_eq!((keyed.idle, keyed.strict, keyed.state), (Millis(30_000), true, Bytes(2 << 20)));
    assert_eq!((settings.replicas, settings.concurrency), (Replicas::EACH, 1));
    let settings =
        &Manifest::parse(&with("kind = \"keyed\""), "lattice.toml").unwrap().actors["cart"].settings;
    assert_eq!(settings.kind, Kind::Keyed(Keyed::default()));
    let stored = serde_json::to_string(settings).unwrap();
    assert_eq!(&serde_json::from_str::<Settings>(&stored).unwrap(), settings);
}
