//! The manifests that several tests deploy.

/// The greeter, with so many replicas.
pub fn greeter(replicas: u32) -> String {
    greeter_with(&format!("replicas = {replicas}"))
}

/// The greeter with these lines in its table.
pub fn greeter_with(lines: &str) -> String {
    format!(
        "[app]\nname = \"greeter\"\n\n[actors.greeter]\nartifact = \"greeter.wasm\"\ningress = [\"nats\"]\n{lines}\n"
    )
}

/// The shop, each of its actors on the nodes with its own label `at=<actor>`.
pub fn pinned_shop() -> String {
    let pin = |actor: &str| {
        format!(
            "[actors.{actor}]\nartifact = \"{actor}.wasm\"\nplacement = {{ require = [\"at={actor}\"] }}\n"
        )
    };
    format!(
        "[app]\nname = \"shop\"\n\n{}grants = {{ call = [\"inventory\", \"pricing\"], log = true }}\n\n{}\n{}",
        pin("storefront"),
        pin("inventory"),
        pin("pricing")
    )
}

/// The shop, anywhere, with so many replicas of each actor and this artifact for its storefront.
pub fn shop(replicas: u32, storefront: &str) -> String {
    let part = |actor: &str, artifact: &str| {
        format!("[actors.{actor}]\nartifact = \"{artifact}\"\nreplicas = {replicas}\n")
    };
    format!(
        "[app]\nname = \"shop\"\n\n{}grants = {{ call = [\"inventory\", \"pricing\"], log = true }}\n\n{}\n{}",
        part("storefront", storefront),
        part("inventory", "inventory.wasm"),
        part("pricing", "pricing.wasm")
    )
}

/// The keyed actor that keeps a list under each key, with these lines in its table.
pub fn ledger_with(lines: &str) -> String {
    format!(
        "[app]\nname = \"ledger\"\n\n[actors.ledger]\nkind = \"keyed\"\nartifact = \"ledger.wasm\"\n{lines}\n"
    )
}

/// The accounts of the bank, with these lines in their table.
pub fn bank_with(lines: &str) -> String {
    format!(
        "[app]\nname = \"bank\"\n\n[actors.account]\nkind = \"keyed\"\nartifact = \"account.wasm\"\n\
         grants = {{ call = [\"account\"] }}\n{lines}\n"
    )
}

/// The actor that misbehaves on request, with these lines in its table.
pub fn misfit_with(lines: &str) -> String {
    format!("[app]\nname = \"misfit\"\n\n[actors.misfit]\nartifact = \"misfit.wasm\"\n{lines}\n")
}
