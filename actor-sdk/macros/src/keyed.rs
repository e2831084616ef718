//! `#[keyed]`: keeps the `impl` block as it is and adds the `Keyed` implementation, a client for the actor's own
//! operations, and the export of the component.
//!
//! An operation's receiver says what it is: `&self` reads, `&mut self` may change the state. The context goes with it.

mod options;
mod woken;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, ImplItem, ImplItemFn, ItemImpl, Result, Signature, Type};

use self::options::Options;
use self::woken::Woken;
use crate::actor::{ask, check, metadata};
use crate::interface::client;
use crate::operation::{Operation, is_context, is_exclusive, is_shared, is_turn};

pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let item: ItemImpl = syn::parse2(item)?;
    // The block itself stays even where the glue fails: one mistake should give one error.
    let glue = glue(arguments, &item).unwrap_or_else(Error::into_compile_error);
    let block = without_marks(item);
    Ok(quote! { #block #glue })
}

fn glue(arguments: TokenStream, item: &ItemImpl) -> Result<TokenStream> {
    let mut options = Options::parse(arguments)?;
    if let Some(first) = item.generics.params.first() {
        return Err(Error::new_spanned(first, "an actor cannot be generic: an artifact holds one actor"));
    }
    refuse_checks(item)?;
    let actor = &item.self_ty;
    let woken = woken::find(&item.items)?;
    let (operations, client) = match &item.trait_ {
        Some((Some(bang), ..)) => {
            return Err(Error::new_spanned(bang, "an actor implements an interface, or has none"));
        }
        Some((None, path, _)) => {
            options.interfaces.insert(0, path.clone());
            refuse_marks(item)?;
            (Vec::new(), None)
        }
        None => {
            let operations = own_operations(item)?;
            let client = client::of_actor(actor, &operations, &quote!(::lattice_actor::__private::json));
            (operations, Some(client))
        }
    };
    let keyed = keyed(actor, &operations, &options, woken.as_ref());
    let export = export(actor);
    Ok(quote! { #keyed #client #export })
}

fn without_marks(mut item: ItemImpl) -> ItemImpl {
    for item in &mut item.items {
        if let ImplItem::Fn(function) = item {
            let is_mark =
                |mark: &Attribute| is_idempotent(mark) || woken::is_mark(mark) || check::is_mark(mark);
            function.attrs.retain(|attribute| !is_mark(attribute));
        }
    }
    item
}

fn is_idempotent(attribute: &Attribute) -> bool {
    attribute.path().is_ident("idempotent")
}

/// The attribute of this kind that some function of the block has.
fn marked(item: &ItemImpl, is_mark: fn(&Attribute) -> bool) -> Option<&Attribute> {
    item.items.iter().find_map(|item| match item {
        ImplItem::Fn(function) => function.attrs.iter().find(|attribute| is_mark(attribute)),
        _ => None,
    })
}

fn refuse_checks(item: &ItemImpl) -> Result<()> {
    match marked(item, check::is_mark) {
        Some(mark) => {
            let message = "a keyed actor has no check: a node wakes it when a message comes, and not before";
            Err(Error::new_spanned(mark, message))
        }
        None => Ok(()),
    }
}

/// In the implementation of an interface a mark would change what its callers were told, or is none of the interface's.
fn refuse_marks(item: &ItemImpl) -> Result<()> {
    if let Some(mark) = marked(item, is_idempotent) {
        let message = "mark the operation in the interface: all its callers rely on it";
        return Err(Error::new_spanned(mark, message));
    }
    if let Some(mark) = marked(item, woken::is_mark) {
        let message =
            "this is no part of an interface: put it into `#[keyed(implements(…))] impl` of the actor's own";
        return Err(Error::new_spanned(mark, message));
    }
    Ok(())
}

fn own_operations(item: &ItemImpl) -> Result<Vec<Operation>> {
    let operation = |item: &ImplItem| match item {
        ImplItem::Fn(function) => own_operation(function),
        other => Err(Error::new_spanned(
            other,
            "this block holds only operations; put the rest into an `impl` block without `#[keyed]`",
        )),
    };
    item.items.iter().filter(|item| woken::mark(item).is_none()).map(operation).collect()
}

fn own_operation(function: &ImplItemFn) -> Result<Operation> {
    let signature = &function.sig;
    let mut inputs = signature.inputs.iter();
    let writes = writes(signature, inputs.next())?;
    check_context(signature, inputs.next(), writes)?;
    Operation::parse(signature, &function.attrs, writes, inputs)
}

fn writes(signature: &Signature, receiver: Option<&FnArg>) -> Result<bool> {
    match receiver {
        Some(FnArg::Receiver(receiver)) if is_shared(receiver) => Ok(false),
        Some(FnArg::Receiver(receiver)) if is_exclusive(receiver) => Ok(true),
        Some(FnArg::Receiver(receiver)) => Err(Error::new_spanned(
            receiver,
            "an operation takes `&self` to read the state, or `&mut self` to change it",
        )),
        _ => Err(Error::new_spanned(
            &signature.ident,
            "an operation takes `&self` or `&mut self`, `ctx: &Context` and then its parameters",
        )),
    }
}

/// An operation that writes may do with less than it could have, and take a plain `Context`.
fn check_context(signature: &Signature, context: Option<&FnArg>, writes: bool) -> Result<()> {
    let expected = if writes {
        "an operation that writes takes `ctx: &Turn`, or `ctx: &Context`, right after `&mut self`"
    } else {
        "an operation that reads takes `ctx: &Context` right after `&self`"
    };
    let Some(context) = context else { return Err(Error::new_spanned(&signature.ident, expected)) };
    match context {
        FnArg::Typed(typed) => match &*typed.ty {
            Type::Reference(ty) if is_context(&ty.elem) => Ok(()),
            Type::Reference(ty) if is_turn(&ty.elem) && writes => Ok(()),
            Type::Reference(ty) if is_turn(&ty.elem) => Err(Error::new_spanned(
                &typed.ty,
                "an operation that reads saves nothing, so it cannot send or be reminded: take `&mut self`, or `ctx: &Context`",
            )),
            _ => Err(Error::new_spanned(context, expected)),
        },
        FnArg::Receiver(_) => Err(Error::new_spanned(context, expected)),
    }
}

fn keyed(actor: &Type, operations: &[Operation], options: &Options, woken: Option<&Woken>) -> TokenStream {
    let codec = quote!(::lattice_actor::__private::json);
    let target = quote!(<#actor>);
    let arms = operations.iter().map(|operation| operation.arm(&target, &codec));
    let descriptions = operations.iter().map(Operation::description);
    let Options { interfaces, version, .. } = options;
    let migrate = options.migrate();
    let woken = woken.map(|woken| woken.glue(actor));
    let all = quote! {
        &[
            &[#(#descriptions),*],
            #(<dyn #interfaces as ::lattice_actor::Interface>::OPERATIONS,)*
        ]
    };
    let asked = interfaces.iter().map(ask);
    // Checked natively too, so that the Wasm build has no surprises. It does not ask the implementation, so that a missing
    // derive is told once.
    let check = quote_spanned! { actor.span() =>
        const _: () = ::lattice_actor::__private::metadata::check(#all);
    };
    quote! {
        impl ::lattice_actor::Keyed for #actor {
            const OPERATIONS: &'static [&'static [::lattice_actor::Operation]] = #all;
            const VERSION: u32 = #version;

            #migrate

            #woken

            async fn handle(
                &mut self,
                __context: &::lattice_actor::Turn,
                __message: &::lattice_actor::Message,
            ) -> ::lattice_actor::Result<::core::option::Option<::std::vec::Vec<u8>>> {
                let __actor = self;
                #(
                    if let ::core::option::Option::Some(__reply) = #asked {
                        return ::core::result::Result::Ok(::core::option::Option::Some(__reply));
                    }
                )*
                match ::lattice_actor::Message::operation(__message) {
                    #(#arms)*
                    _ => ::core::result::Result::Ok(::core::option::Option::None),
                }
            }
        }

        #check
    }
}

/// What only the Wasm build has: elsewhere the exported symbols would break the native link of the same crate.
fn export(actor: &Type) -> TokenStream {
    let metadata = metadata(true, &quote!(<#actor as ::lattice_actor::Keyed>::OPERATIONS));
    quote! {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "exported symbols and link sections are unsafe attributes")]
        const _: () = {
            type __Exported = ::lattice_actor::__private::ExportedKeyed<#actor>;
            ::lattice_actor::__private::keyed_bindings::__export_keyed_handler!(__Exported with_types_in ::lattice_actor::__private::keyed_bindings);

            #metadata
        };
    }
}
