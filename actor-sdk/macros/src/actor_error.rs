//! `#[derive(ActorError)]`: the code of an error is the name of its variant (of an enum) or of its type (of a struct),
//! in kebab case.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Ident, Result};

pub fn expand(item: TokenStream) -> Result<TokenStream> {
    let item: DeriveInput = syn::parse2(item)?;
    if let Some(first) = item.generics.params.first() {
        return Err(Error::new_spanned(
            first,
            "an actor's error cannot be generic: callers decode it by its type alone",
        ));
    }
    let name = &item.ident;
    let code = match &item.data {
        Data::Struct(_) => {
            let code = kebab(name);
            quote!(#code)
        }
        Data::Enum(data) if data.variants.is_empty() => {
            return Err(Error::new_spanned(name, "give this error at least one variant"));
        }
        Data::Enum(data) => {
            let arms = data.variants.iter().map(|variant| {
                let (ident, code) = (&variant.ident, kebab(&variant.ident));
                let fields = match variant.fields {
                    Fields::Named(_) => quote!({ .. }),
                    Fields::Unnamed(_) => quote!((..)),
                    Fields::Unit => quote!(),
                };
                quote!(Self::#ident #fields => #code)
            });
            quote!(match self { #(#arms),* })
        }
        Data::Union(_) => return Err(Error::new_spanned(name, "an actor's error is an enum or a struct")),
    };
    Ok(quote! {
        impl ::lattice_actor::ActorError for #name {
            fn code(&self) -> &'static str {
                #code
            }
        }
    })
}

/// `OutOfStock` becomes `out-of-stock`.
fn kebab(name: &Ident) -> String {
    let mut kebab = String::new();
    for letter in name.to_string().trim_start_matches("r#").chars() {
        if letter.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}
