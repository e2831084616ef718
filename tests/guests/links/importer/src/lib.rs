//! An actor that imports an interface of another one, and makes sure that every value comes back as it went. It exports an interface too,
//! beside its handler.

#![cfg(target_family = "wasm")]
#![allow(unsafe_code, reason = "generated: what a component exports is entered by raw memory")]

/// What wit-bindgen makes of the WIT package.
#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated, and the canonical ABI is raw memory")]
mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "importer" });
}

mod values;

use bindings::acme::values::{adder, echo};
use lattice_actor::{Context, Result, actor, join_all};

/// The actor.
#[derive(Default)]
pub struct Importer;

bindings::export!(Importer with_types_in bindings);

impl bindings::exports::acme::values::adder::Guest for Importer {
    fn add(one: u32, two: u32) -> u32 {
        one + two
    }
}

#[actor]
impl Importer {
    /// Makes so many values from a seed, and gives the first one back that differs, as it went and as it came.
    async fn try_values(&self, _ctx: &Context, seed: u64, count: u32) -> Result<Option<String>> {
        let mut any = values::Any::new(seed);
        for _ in 0..count {
            let (whole, many) = (any.whole(), any.many());
            // Their text tells apart what is not equal to itself, and one zero from the other.
            let went = (format!("{whole:?}"), format!("{many:?}"));
            let (a, b, c, d, e, f, g) = &many;
            let back = (
                format!("{:?}", echo::give_back(&whole)),
                format!("{:?}", echo::give_many(*a, *b, c, d, *e, *f, *g)),
            );
            if went != back {
                return Ok(Some(format!("{went:?}\n{back:?}")));
            }
        }
        Ok(None)
    }

    /// The same with every character that there is.
    async fn try_characters(&self, _ctx: &Context) -> Result<Option<String>> {
        let all: Vec<char> = ('\0'..=char::MAX).collect();
        let mut any = values::Any::new(0);
        for part in all.chunks(1 << 15) {
            let text: String = part.iter().collect();
            let mut whole = any.whole();
            whole.texts = echo::Texts {
                letter: part[0],
                text,
                lines: part.iter().take(64).map(char::to_string).collect(),
            };
            let back = echo::give_back(&whole);
            if (back.texts.letter, &back.texts.text, &back.texts.lines)
                != (whole.texts.letter, &whole.texts.text, &whole.texts.lines)
            {
                return Ok(Some(format!("from {:?} on", part[0])));
            }
        }
        Ok(None)
    }

    /// Calls side by side, and gives the texts back.
    async fn later(&self, _ctx: &Context, texts: Vec<String>, ms: u32) -> Result<Vec<String>> {
        Ok(join_all(texts.into_iter().map(|text| echo::give_later(text, ms))).await)
    }

    /// Calls the function that takes and gives nothing.
    async fn nothing(&self, _ctx: &Context) -> Result<()> {
        echo::nothing();
        Ok(())
    }

    /// Calls the function that traps.
    async fn trap(&self, _ctx: &Context, why: String) -> Result<()> {
        echo::trap(&why);
        Ok(())
    }

    /// Asks for so many bytes, and counts them.
    async fn long(&self, _ctx: &Context, bytes: u32) -> Result<usize> {
        Ok(echo::long(bytes).len())
    }

    /// Adds, by way of whoever is linked.
    async fn add(&self, _ctx: &Context, one: u32, two: u32) -> Result<u32> {
        Ok(adder::add(one, two))
    }
}
