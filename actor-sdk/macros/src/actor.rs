//! `#[actor]`: keeps the `impl` block as it is and adds the `Actor` implementation and the export of the component.
//!
//! The block is either inherent (its `async fn`s are operations of the actor's own) or of an interface.

pub mod check;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, FnArg, ImplItem, ImplItemFn, ItemImpl, Path, Result, Token, Type};

use self::check::Check;
use crate::operation::{Operation, is_context, is_shared};

pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let item: ItemImpl = syn::parse2(item)?;
    let glue = glue(arguments, &item);
    // The block itself stays even where the glue fails: one mistake should give one error.
    let glue = glue.unwrap_or_else(Error::into_compile_error);
    let block = without_marks(item);
    Ok(quote! { #block #glue })
}

fn glue(arguments: TokenStream, item: &ItemImpl) -> Result<TokenStream> {
    let mut interfaces = listed_interfaces(arguments)?;
    if let Some(first) = item.generics.params.first() {
        return Err(Error::new_spanned(first, "an actor cannot be generic: an artifact holds one actor"));
    }
    let operations = match &item.trait_ {
        Some((Some(bang), ..)) => {
            return Err(Error::new_spanned(bang, "an actor implements an interface, or has none"));
        }
        Some((None, path, _)) => {
            interfaces.insert(0, path.clone());
            refuse_marks(item)?;
            Vec::new()
        }
        None => own_operations(item)?,
    };
    let actor = actor(&item.self_ty, &operations, &interfaces);
    let check = check::find(&item.items)?;
    let export = export(&item.self_ty, check.as_ref());
    let check = check.map(|check| check.glue(&item.self_ty));
    Ok(quote! { #actor #check #export })
}

/// `implements(Inventory, Pricing)`.
fn listed_interfaces(arguments: TokenStream) -> Result<Vec<Path>> {
    let mut interfaces = Vec::new();
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("implements") {
            return Err(meta.error("the only option of an actor is `implements(Interface, …)`"));
        }
        let content;
        syn::parenthesized!(content in meta.input);
        interfaces.extend(Punctuated::<Path, Token![,]>::parse_terminated(&content)?);
        Ok(())
    });
    parser.parse2(arguments)?;
    Ok(interfaces)
}

fn without_marks(mut item: ItemImpl) -> ItemImpl {
    for item in &mut item.items {
        if let ImplItem::Fn(function) = item {
            function
                .attrs
                .retain(|attribute| !attribute.path().is_ident("idempotent") && !check::is_mark(attribute));
        }
    }
    item
}

/// In the implementation of an interface a mark would change what its callers were told.
fn refuse_marks(item: &ItemImpl) -> Result<()> {
    for item in &item.items {
        if let Some((_, mark)) = check::mark(item) {
            let message = "a check is no part of an interface: put it into `#[actor(implements(…))] impl` of the actor's own";
            return Err(Error::new_spanned(mark, message));
        }
        if let ImplItem::Fn(function) = item
            && let Some(mark) =
                function.attrs.iter().find(|attribute| attribute.path().is_ident("idempotent"))
        {
            return Err(Error::new_spanned(
                mark,
                "mark the operation in the interface: all its callers rely on it",
            ));
        }
    }
    Ok(())
}

fn own_operations(item: &ItemImpl) -> Result<Vec<Operation>> {
    let operation = |item: &ImplItem| match item {
        ImplItem::Fn(function) => own_operation(function),
        other => Err(Error::new_spanned(
            other,
            "this block holds only operations; put the rest into an `impl` block without `#[actor]`",
        )),
    };
    item.items.iter().filter(|item| check::mark(item).is_none()).map(operation).collect()
}

fn own_operation(function: &ImplItemFn) -> Result<Operation> {
    let signature = &function.sig;
    let mut inputs = signature.inputs.iter();
    match inputs.next() {
        Some(FnArg::Receiver(receiver)) if is_shared(receiver) => {}
        Some(FnArg::Receiver(receiver)) => {
            let message = "an operation takes `&self`: a replicated actor may serve several messages at once";
            return Err(Error::new_spanned(receiver, message));
        }
        _ => {
            let message = "an operation takes `&self`, `ctx: &Context` and then its parameters";
            return Err(Error::new_spanned(&signature.ident, message));
        }
    }
    match inputs.next() {
        Some(FnArg::Typed(typed)) if matches!(&*typed.ty, Type::Reference(ty) if is_context(&ty.elem)) => {}
        Some(other) => {
            return Err(Error::new_spanned(other, "an operation takes `ctx: &Context` right after `&self`"));
        }
        None => {
            return Err(Error::new_spanned(
                &signature.ident,
                "an operation takes `ctx: &Context` right after `&self`",
            ));
        }
    }
    Operation::parse(signature, &function.attrs, false, inputs)
}

fn actor(actor: &Type, operations: &[Operation], interfaces: &[Path]) -> TokenStream {
    let codec = quote!(::lattice_actor::__private::json);
    let target = quote!(<#actor>);
    let arms = operations.iter().map(|operation| operation.arm(&target, &codec));
    let descriptions = operations.iter().map(Operation::description);
    let asked = interfaces.iter().map(ask);
    // Checked natively too, so that the Wasm build has no surprises.
    let checks = quote_spanned! { actor.span() =>
        const _: () = {
            ::lattice_actor::__private::metadata::check(<#actor as ::lattice_actor::Actor>::OPERATIONS);
            ::lattice_actor::__private::must_be_default::<#actor>();
        };
    };
    quote! {
        impl ::lattice_actor::Actor for #actor {
            const OPERATIONS: &'static [&'static [::lattice_actor::Operation]] = &[
                &[#(#descriptions),*],
                #(<dyn #interfaces as ::lattice_actor::Interface>::OPERATIONS,)*
            ];

            async fn handle(
                &self,
                __context: &::lattice_actor::Context,
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

        #checks
    }
}

/// Lets an interface handle the message, if it has such an operation.
pub fn ask(interface: &Path) -> TokenStream {
    // The span makes an interface that does not fit the actor show up where the user named it.
    quote_spanned! { interface.span() => <dyn #interface>::__lattice_handle(__actor, __context, __message).await? }
}

/// What only the Wasm build has: elsewhere the exported symbols would break the native link of the same crate.
fn export(actor: &Type, check: Option<&Check>) -> TokenStream {
    let check = check.map(Check::export);
    let metadata = metadata(false, &quote!(<#actor as ::lattice_actor::Actor>::OPERATIONS));
    quote! {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "exported symbols and link sections are unsafe attributes")]
        const _: () = {
            type __Exported = ::lattice_actor::__private::Exported<#actor>;
            ::lattice_actor::__private::bindings::__export_handler!(__Exported with_types_in ::lattice_actor::__private::bindings);
            #check

            #metadata
        };
    }
}

/// What the artifact says of itself, in the section that nodes read.
pub fn metadata(keyed: bool, operations: &TokenStream) -> TokenStream {
    quote! {
        #[unsafe(link_section = "lattice:actor")]
        static __METADATA: [u8; ::lattice_actor::__private::metadata::length(#keyed, #operations)] =
            ::lattice_actor::__private::metadata::line(#keyed, #operations);
    }
}
