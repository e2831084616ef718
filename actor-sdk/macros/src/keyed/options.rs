//! What stands in the parentheses of `#[keyed(…)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{LitInt, Path, Result, Token};

/// The options of a keyed actor.
pub struct Options {
    pub interfaces: Vec<Path>,
    pub version: u32,
    migrate: Option<Path>,
}

impl Options {
    /// `implements(Cart, …), version = 2, migrate = from_one`.
    pub fn parse(arguments: TokenStream) -> Result<Self> {
        let mut options = Options { interfaces: Vec::new(), version: 1, migrate: None };
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("implements") {
                let content;
                syn::parenthesized!(content in meta.input);
                options.interfaces.extend(Punctuated::<Path, Token![,]>::parse_terminated(&content)?);
            } else if meta.path.is_ident("version") {
                options.version = meta.value()?.parse::<LitInt>()?.base10_parse()?;
            } else if meta.path.is_ident("migrate") {
                options.migrate = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error(
                    "the options of a keyed actor are `implements(Interface, …)`, `version = 2` and `migrate = function`",
                ));
            }
            Ok(())
        });
        parser.parse2(arguments)?;
        Ok(options)
    }

    /// The method that asks the user's function, where there is one.
    pub fn migrate(&self) -> Option<TokenStream> {
        let path = self.migrate.as_ref()?;
        // The span makes a function of another shape show up where the user named it.
        let call = quote_spanned! { path.span() => #path(__from, __state) };
        Some(quote! {
            fn migrate(
                __from: u32,
                __state: ::lattice_actor::serde_json::Value,
            ) -> ::lattice_actor::Result<::lattice_actor::serde_json::Value> {
                #call
            }
        })
    }
}
