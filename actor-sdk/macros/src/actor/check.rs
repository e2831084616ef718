//! The method of an actor that says whether it is ready: what it may look like, and the glue that asks it.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, ImplItem, ImplItemFn, Result, ReturnType, Type};

use crate::operation::{is_shared, result_value};

/// A check that can be asked.
pub struct Check {
    name: Ident,
    output: Type,
}

/// Whether this is the mark of a check.
pub fn is_mark(attribute: &Attribute) -> bool {
    attribute.path().is_ident("check")
}

/// The mark of a method that has it.
pub fn mark(item: &ImplItem) -> Option<(&ImplItemFn, &Attribute)> {
    let ImplItem::Fn(function) = item else { return None };
    function.attrs.iter().find(|attribute| is_mark(attribute)).map(|mark| (function, mark))
}

/// The one check among these, if there is any.
pub fn find(items: &[ImplItem]) -> Result<Option<Check>> {
    let mut marked = items.iter().filter_map(mark);
    let Some((function, mark)) = marked.next() else { return Ok(None) };
    if let Some((_, second)) = marked.next() {
        return Err(Error::new_spanned(second, "an actor has one check: let it look at everything"));
    }
    mark.meta.require_path_only()?;
    let other = function.attrs.iter().find(|attribute| attribute.path().is_ident("idempotent"));
    if let Some(other) = other {
        return Err(Error::new_spanned(other, "a check is no operation: the node asks it, and no caller"));
    }
    read(function).map(Some)
}

fn read(function: &ImplItemFn) -> Result<Check> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new_spanned(signature.fn_token, "a check is an `async fn`"));
    }
    if let Some(first) = signature.generics.params.first() {
        return Err(Error::new_spanned(first, "a check cannot be generic: the node asks it as it is"));
    }
    if let Some(token) = &signature.unsafety {
        return Err(Error::new_spanned(token, "a check cannot be unsafe: the node asks it"));
    }
    let mut inputs = signature.inputs.iter();
    match inputs.next() {
        Some(FnArg::Receiver(receiver)) if is_shared(receiver) => {}
        Some(other) => return Err(Error::new_spanned(other, "a check takes `&self` and nothing else")),
        None => return Err(Error::new_spanned(&signature.ident, "a check takes `&self`")),
    }
    if let Some(more) = inputs.next() {
        let message = "a check takes `&self` and nothing else: it handles no message, so it has no context";
        return Err(Error::new_spanned(more, message));
    }
    let wrong = "a check returns `Result<()>`, with an error that can be displayed";
    let ReturnType::Type(_, output) = &signature.output else {
        return Err(Error::new_spanned(&signature.ident, wrong));
    };
    match result_value(output) {
        Some(Type::Tuple(tuple)) if tuple.elems.is_empty() => {}
        _ => return Err(Error::new_spanned(output, wrong)),
    }
    Ok(Check { name: signature.ident.clone(), output: (**output).clone() })
}

impl Check {
    /// What asks it, natively too, so that the Wasm build has no surprises.
    pub fn glue(&self, actor: &Type) -> TokenStream {
        let name = &self.name;
        // The span makes an error that cannot be displayed show up where the user wrote it.
        let text = quote_spanned! { self.output.span() => ::std::string::ToString::to_string(&__error) };
        quote! {
            impl ::lattice_actor::__private::Checked for #actor {
                async fn check(&self) -> ::core::result::Result<(), ::std::string::String> {
                    <#actor>::#name(self).await.map_err(|__error| #text)
                }
            }
        }
    }

    /// The export, beside that of the handler.
    pub fn export(&self) -> TokenStream {
        quote! {
            ::lattice_actor::__private::check_bindings::__export_check!(__Exported with_types_in ::lattice_actor::__private::check_bindings);
        }
    }
}
