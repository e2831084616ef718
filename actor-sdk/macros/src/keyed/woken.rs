//! The method of a keyed actor that is called when it wakes: what it may look like, and the glue that calls it.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{Attribute, Error, FnArg, ImplItem, ImplItemFn, Result, ReturnType, Type};

use crate::operation::is_exclusive;

/// A hook that can be called.
pub struct Woken {
    name: Ident,
}

const SHAPE: &str = "what is called when an actor wakes is `fn woken(&mut self, key: &str)`: no message is handled, so \
                     there is no context, nothing to wait for and nobody to answer";

/// Whether this is the mark of the hook.
pub fn is_mark(attribute: &Attribute) -> bool {
    attribute.path().is_ident("woken")
}

/// The mark of a method that has it.
pub fn mark(item: &ImplItem) -> Option<(&ImplItemFn, &Attribute)> {
    let ImplItem::Fn(function) = item else { return None };
    function.attrs.iter().find(|attribute| is_mark(attribute)).map(|mark| (function, mark))
}

/// The one hook among these, if there is any.
pub fn find(items: &[ImplItem]) -> Result<Option<Woken>> {
    let mut marked = items.iter().filter_map(mark);
    let Some((function, mark)) = marked.next() else { return Ok(None) };
    if let Some((_, second)) = marked.next() {
        return Err(Error::new_spanned(second, "an actor wakes once: let one method do all of it"));
    }
    mark.meta.require_path_only()?;
    read(function).map(Some)
}

fn read(function: &ImplItemFn) -> Result<Woken> {
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        return Err(Error::new_spanned(token, SHAPE));
    }
    if let ReturnType::Type(_, output) = &signature.output {
        return Err(Error::new_spanned(output, SHAPE));
    }
    let mut inputs = signature.inputs.iter();
    match inputs.next() {
        Some(FnArg::Receiver(receiver)) if is_exclusive(receiver) => {}
        Some(other) => return Err(Error::new_spanned(other, SHAPE)),
        None => return Err(Error::new_spanned(&signature.ident, SHAPE)),
    }
    match inputs.next() {
        Some(FnArg::Typed(typed)) if matches!(&*typed.ty, Type::Reference(_)) => {}
        Some(other) => return Err(Error::new_spanned(other, SHAPE)),
        None => return Err(Error::new_spanned(&signature.ident, SHAPE)),
    }
    match inputs.next() {
        Some(more) => Err(Error::new_spanned(more, SHAPE)),
        None => Ok(Woken { name: signature.ident.clone() }),
    }
}

impl Woken {
    pub fn glue(&self, actor: &Type) -> TokenStream {
        let name = &self.name;
        quote! {
            fn woken(&mut self, __key: &str) {
                <#actor>::#name(self, __key)
            }
        }
    }
}
