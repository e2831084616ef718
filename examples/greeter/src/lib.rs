//! The smallest actor that deploys: it greets.
//!
//! It calls nobody and remembers nobody.

use std::env;

use lattice_actor::{Context, Result, actor, log};

/// Greets whoever gives a name.
pub struct Greeter {
    greeting: String,
}

impl Default for Greeter {
    /// The greeting comes from the manifest's `env`.
    fn default() -> Self {
        Greeter { greeting: env::var("GREETING").unwrap_or_else(|_| "Hello".into()) }
    }
}

#[actor]
impl Greeter {
    /// One line, for that name.
    #[idempotent]
    async fn hello(&self, ctx: &Context, name: String) -> Result<String> {
        log::info!("greeting {name} for {}", ctx.caller().unwrap_or("somebody outside"));
        Ok(format!("{}, {name}!", self.greeting))
    }
}

#[cfg(test)]
mod tests {
    use lattice_actor::serde_json::json;
    use lattice_actor::testing::{Mesh, block_on};

    use super::*;

    #[test]
    fn the_answer_contains_the_name() {
        let greeter = Greeter { greeting: "Hi".into() };
        assert_eq!(block_on(greeter.hello(&Mesh::new().context(), "Ada".into())), Ok("Hi, Ada!".into()));
    }

    #[test]
    fn the_name_is_taken_bare_or_by_name() {
        let ctx = Mesh::new().actor("greeter", Greeter::default()).context();
        for arguments in [json!("Ada"), json!({ "name": "Ada" })] {
            let reply: Result<String> = block_on(ctx.call("greeter", "hello", &arguments));
            assert!(reply.is_ok_and(|reply| reply.contains("Ada")));
        }
    }
}
