//! `#[interface]`: from a trait to the trait that actors implement, the client that callers use, and the dispatch
//! between them.
//!
//! The trait keeps its name. Each method gets its receiver and the context, so that `impl Inventory for Stock` is checked
//! by the compiler like any other trait, and `where Self: Sized`, so that `dyn Inventory` can name the interface.

pub mod client;

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::{Error, FnArg, ItemTrait, Result, TraitItem};

use crate::operation::{Operation, Parameter, is_exclusive, is_shared};

/// Names that the client has already.
const RESERVED: [&str; 1] = ["timeout"];

pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let codec = codec(arguments)?;
    let item: ItemTrait = syn::parse2(item)?;
    let operations = operations(&item)?;
    if codec.protobuf {
        operations.iter().try_for_each(check_one_message)?;
    }
    let codec = codec.module();
    let definition = definition(&item, &operations);
    let client = client::of_interface(&item, &operations, &codec);
    let dispatch = dispatch(&item, &operations, &codec);
    Ok(quote! { #definition #client #dispatch })
}

/// How payloads are written.
#[derive(Default)]
struct Codec {
    protobuf: bool,
}

impl Codec {
    /// Both modules have the same items, so the code that is generated differs in this path alone.
    fn module(&self) -> TokenStream {
        if self.protobuf {
            quote!(::lattice_actor::__private::protobuf)
        } else {
            quote!(::lattice_actor::__private::json)
        }
    }
}

fn codec(arguments: TokenStream) -> Result<Codec> {
    let mut codec = Codec::default();
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("protobuf") {
            return Err(meta.error("the only option of an interface is `protobuf`"));
        }
        if !cfg!(feature = "protobuf") {
            return Err(
                meta.error("switch on the feature `protobuf` of lattice-actor to use Protobuf payloads")
            );
        }
        codec.protobuf = true;
        Ok(())
    });
    parser.parse2(arguments)?;
    Ok(codec)
}

fn check_one_message(operation: &Operation) -> Result<()> {
    match operation.parameters.len() {
        1 => Ok(()),
        _ => Err(Error::new_spanned(
            &operation.name,
            "an operation of a Protobuf interface takes exactly one message",
        )),
    }
}

fn operations(item: &ItemTrait) -> Result<Vec<Operation>> {
    if let Some(first) = item.generics.params.first() {
        return Err(Error::new_spanned(first, "an interface cannot be generic: its messages have one shape"));
    }
    if let Some(first) = item.supertraits.first() {
        return Err(Error::new_spanned(
            first,
            "an interface stands alone: let the actor implement both instead",
        ));
    }
    item.items.iter().map(operation).collect()
}

fn operation(item: &TraitItem) -> Result<Operation> {
    let TraitItem::Fn(function) = item else {
        return Err(Error::new_spanned(item, "an interface holds only `async fn` operations"));
    };
    if let Some(body) = &function.default {
        return Err(Error::new_spanned(
            body,
            "an operation has no body here: the actor that implements it has",
        ));
    }
    let mut inputs = function.sig.inputs.iter().peekable();
    let receiver = inputs.next_if(|input| matches!(input, FnArg::Receiver(_)));
    let writes = match receiver {
        Some(FnArg::Receiver(receiver)) if is_exclusive(receiver) => true,
        Some(FnArg::Receiver(receiver)) if !is_shared(receiver) => {
            let message =
                "write `&mut self` where the operation changes the state of a keyed actor, else nothing";
            return Err(Error::new_spanned(receiver, message));
        }
        _ => false,
    };
    let operation = Operation::parse(&function.sig, &function.attrs, writes, inputs)?;
    if RESERVED.contains(&operation.wire_name().as_str()) {
        return Err(Error::new_spanned(
            &operation.name,
            "every client has a method of this name: choose another",
        ));
    }
    Ok(operation)
}

fn definition(item: &ItemTrait, operations: &[Operation]) -> TokenStream {
    let ItemTrait { attrs, vis, ident, .. } = item;
    let methods =
        operations.iter().map(|Operation { name, parameters, output, attributes, writes, .. }| {
            let inputs = parameters.iter().map(|Parameter { name, ty }| quote!(#name: #ty));
            let (receiver, context) = around(*writes);
            quote! {
                #(#attributes)*
                fn #name(#receiver, ctx: &#context, #(#inputs),*)
                    -> impl ::core::future::Future<Output = #output>
                where
                    Self: ::core::marker::Sized;
            }
        });
    quote! { #(#attrs)* #vis trait #ident { #(#methods)* } }
}

/// The receiver and the type of the context, of an operation or of an interface that has one such operation.
fn around(writes: bool) -> (TokenStream, TokenStream) {
    if writes {
        (quote!(&mut self), quote!(::lattice_actor::Turn))
    } else {
        (quote!(&self), quote!(::lattice_actor::Context))
    }
}

/// Stands on `dyn Trait`, because a trait of the SDK could not ask for "any actor that implements *this* trait".
fn dispatch(item: &ItemTrait, operations: &[Operation], codec: &TokenStream) -> TokenStream {
    let ident = &item.ident;
    let target = quote!(<__Actor as #ident>);
    let arms = operations.iter().map(|operation| operation.arm(&target, codec));
    let writes = operations.iter().any(|operation| operation.writes);
    let exclusive = writes.then(|| quote!(mut));
    let (_, context) = around(writes);
    quote! {
        impl dyn #ident {
            #[doc(hidden)]
            pub async fn __lattice_handle<__Actor: #ident>(
                __actor: &#exclusive __Actor,
                __context: &#context,
                __message: &::lattice_actor::Message,
            ) -> ::lattice_actor::Result<::core::option::Option<::std::vec::Vec<u8>>> {
                match ::lattice_actor::Message::operation(__message) {
                    #(#arms)*
                    _ => ::core::result::Result::Ok(::core::option::Option::None),
                }
            }
        }
    }
}
