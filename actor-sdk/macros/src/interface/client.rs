//! The typed client of an interface or of a keyed actor: what a caller may give, and how it becomes a request.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{GenericArgument, Ident, ItemTrait, PathArguments, Type};

use crate::operation::{Operation, Parameter};

/// The client of an interface, of which `dyn Trait` is the type.
pub fn of_interface(item: &ItemTrait, operations: &[Operation], codec: &TokenStream) -> TokenStream {
    let ItemTrait { vis, ident, .. } = item;
    let client = format_ident!("{ident}Client");
    let summary = format!("Calls an actor that implements [`{ident}`].");
    let (implementation, methods) = parts(&client, &quote!(dyn #ident), operations, codec);
    quote! {
        #[doc = #summary]
        #[derive(Clone, Debug)]
        #vis struct #client(::lattice_actor::Callee);

        impl #client {
            /// Lets each further call through this client last so long at most. A turn's own deadline ends its
            /// calls in any case.
            #vis fn timeout(self, limit: ::core::time::Duration) -> Self {
                Self(self.0.timeout(limit))
            }

            #methods
        }

        #implementation
    }
}

/// The client of a keyed actor's own operations, of which the actor's struct is the type. It has no name outside.
pub fn of_actor(actor: &Type, operations: &[Operation], codec: &TokenStream) -> TokenStream {
    let client = format_ident!("__Client");
    let (implementation, methods) = parts(&client, &quote!(#actor), operations, codec);
    quote! {
        const _: () = {
            #[doc(hidden)]
            #[derive(Clone, Debug)]
            pub struct #client(::lattice_actor::Callee);

            #[allow(dead_code, private_interfaces, reason = "not every actor calls itself")]
            impl #client {
                #methods
            }

            #implementation
        };
    }
}

fn parts(
    client: &Ident,
    target: &TokenStream,
    operations: &[Operation],
    codec: &TokenStream,
) -> (TokenStream, TokenStream) {
    let methods = operations.iter().map(|operation| client_method(operation, codec));
    let descriptions = operations.iter().map(Operation::description);
    let implementation = quote! {
        impl ::lattice_actor::Interface for #target {
            type Client = #client;
            const OPERATIONS: &'static [::lattice_actor::Operation] = &[#(#descriptions),*];

            fn client(callee: ::lattice_actor::Callee) -> #client {
                #client(callee)
            }
        }
    };
    (implementation, quote!(#(#methods)*))
}

/// Arguments are encoded before the method returns, so the call borrows none of them and can be joined with others.
fn client_method(operation: &Operation, codec: &TokenStream) -> TokenStream {
    let Operation { name, value, parameters, .. } = operation;
    let wire = operation.wire_name();
    let docs = operation.docs();
    let inputs = parameters.iter().map(|Parameter { name, ty }| {
        let accepted = Accepted::of(ty).input(ty);
        quote!(#name: #accepted)
    });
    let adds = parameters.iter().map(|parameter| {
        let wire = parameter.wire_name();
        let lent = Accepted::of(&parameter.ty).lend(&parameter.name, &parameter.ty);
        quote! { .add(#wire, #lent) }
    });
    quote! {
        #(#docs)*
        pub fn #name(&self, #(#inputs),*) -> ::lattice_actor::Call<#value> {
            #codec::call(&self.0, #wire, #codec::Request::new() #(#adds)*)
        }
    }
}

/// How a client takes an argument: what is cheap and natural for its type.
enum Accepted {
    /// Numbers and the like.
    Value,
    /// `&str`, `&String` or `String`.
    Text,
    /// Slices, arrays and vectors of this element.
    Slice(Box<Type>),
    /// The type or a reference to it.
    Borrowed,
}

impl Accepted {
    fn of(ty: &Type) -> Self {
        let Type::Path(path) = ty else { return Accepted::Borrowed };
        let Some(last) = path.path.segments.last() else { return Accepted::Borrowed };
        match (last.ident.to_string().as_str(), &last.arguments) {
            ("String", PathArguments::None) => Accepted::Text,
            (
                "bool" | "char" | "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32"
                | "i64" | "i128" | "isize" | "f32" | "f64",
                PathArguments::None,
            ) => Accepted::Value,
            ("Vec", PathArguments::AngleBracketed(arguments)) => match arguments.args.first() {
                Some(GenericArgument::Type(element)) => Accepted::Slice(Box::new(element.clone())),
                _ => Accepted::Borrowed,
            },
            _ => Accepted::Borrowed,
        }
    }

    fn input(&self, ty: &Type) -> TokenStream {
        match self {
            Accepted::Value => quote!(#ty),
            Accepted::Text => quote!(impl ::core::convert::AsRef<str>),
            Accepted::Slice(element) => quote!(impl ::core::convert::AsRef<[#element]>),
            Accepted::Borrowed => quote!(impl ::core::borrow::Borrow<#ty>),
        }
    }

    fn lend(&self, name: &Ident, ty: &Type) -> TokenStream {
        match self {
            Accepted::Value => quote!(&#name),
            Accepted::Text => quote!(::core::convert::AsRef::<str>::as_ref(&#name)),
            Accepted::Slice(element) => quote!(::core::convert::AsRef::<[#element]>::as_ref(&#name)),
            Accepted::Borrowed => quote!(::core::borrow::Borrow::<#ty>::borrow(&#name)),
        }
    }
}
