//! One operation, as a trait of an interface or the `impl` block of an actor writes it.
//!
//! Here stand all rules about what an operation may look like, and the sentences that explain them. Nothing is
//! generated here but the fragments that both macros share.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, Ident, Pat, PathArguments, Receiver, Result, ReturnType, Signature, Type,
};

/// An operation that can travel.
pub struct Operation {
    pub name: Ident,
    pub parameters: Vec<Parameter>,
    /// The whole return type, `Result<T>`.
    pub output: Type,
    /// The `T` of it.
    pub value: Type,
    pub idempotent: bool,
    /// Whether it may change the state of a keyed actor: it takes `&mut self`.
    pub writes: bool,
    /// What the user wrote above it, less `#[idempotent]`.
    pub attributes: Vec<Attribute>,
}

/// One argument of an operation.
pub struct Parameter {
    pub name: Ident,
    pub ty: Type,
}

impl Operation {
    /// Reads what stands after the receiver and the context, which say whether it writes.
    pub fn parse<'a>(
        signature: &Signature,
        attributes: &[Attribute],
        writes: bool,
        inputs: impl Iterator<Item = &'a FnArg>,
    ) -> Result<Self> {
        check_shape(signature)?;
        let (marks, attributes): (Vec<_>, Vec<_>) = attributes.iter().cloned().partition(is_idempotent);
        if let Some(second) = marks.get(1) {
            return Err(Error::new_spanned(second, "`#[idempotent]` is here twice"));
        }
        let parameters = inputs.map(Parameter::parse).collect::<Result<_>>()?;
        let ReturnType::Type(_, output) = &signature.output else {
            return Err(Error::new_spanned(&signature.ident, NO_RESULT));
        };
        let value = result_value(output).ok_or_else(|| Error::new_spanned(output, NO_RESULT))?.clone();
        Ok(Operation {
            name: signature.ident.clone(),
            parameters,
            output: (**output).clone(),
            value,
            idempotent: !marks.is_empty(),
            writes,
            attributes,
        })
    }

    /// The name in messages.
    pub fn wire_name(&self) -> String {
        self.name.unraw().to_string()
    }

    /// The doc comments alone.
    pub fn docs(&self) -> impl Iterator<Item = &Attribute> {
        self.attributes.iter().filter(|attribute| attribute.path().is_ident("doc"))
    }

    /// The constant that describes this operation in the artifact.
    pub fn description(&self) -> TokenStream {
        let name = self.wire_name();
        let parameters = self.parameters.iter().map(Parameter::wire_name);
        let (idempotent, read) = (self.idempotent, !self.writes);
        quote! {
            ::lattice_actor::Operation {
                name: #name,
                parameters: &[#(#parameters),*],
                idempotent: #idempotent,
                read: #read,
            }
        }
    }

    /// The arm of a `match` on the operation's name: decode, run, encode.
    ///
    /// `target` is the path of the method up to its name; `codec` the module that knows the payload's format.
    pub fn arm(&self, target: &TokenStream, codec: &TokenStream) -> TokenStream {
        let wire = self.wire_name();
        let name = &self.name;
        let names = self.parameters.iter().map(Parameter::wire_name);
        let locals: Vec<_> = (0..self.parameters.len())
            .map(|index| Ident::new(&format!("__argument{index}"), Span::mixed_site()))
            .collect();
        // The spans make a type that cannot be decoded or encoded show up where the user wrote it.
        let takes = self.parameters.iter().enumerate().map(|(index, parameter)| {
            let (local, ty) = (&locals[index], &parameter.ty);
            quote_spanned! { ty.span() => let #local: #ty = __arguments.take(#index)?; }
        });
        let reply = quote_spanned! { self.output.span() => #codec::reply(__outcome)? };
        let read = quote!(#codec::Arguments::read(#wire, &[#(#names),*], __message)?;);
        // Decoded in a block of its own, so that nothing borrowed from the message lives on in the future.
        let decode = if locals.is_empty() {
            read
        } else {
            quote! { let (#(#locals,)*) = { let mut __arguments = #read #(#takes)* (#(#locals,)*) }; }
        };
        quote! {
            #wire => {
                #decode
                let __outcome = #target::#name(__actor, __context, #(#locals),*).await;
                ::core::result::Result::Ok(::core::option::Option::Some(#reply))
            }
        }
    }
}

impl Parameter {
    fn parse(input: &FnArg) -> Result<Self> {
        let FnArg::Typed(typed) = input else {
            return Err(Error::new_spanned(input, "`self` stands before all parameters"));
        };
        let Pat::Ident(pattern) = &*typed.pat else {
            return Err(Error::new_spanned(
                &typed.pat,
                "give this parameter a plain name: it is its name in messages",
            ));
        };
        match &*typed.ty {
            Type::Reference(reference) if is_context(&reference.elem) || is_turn(&reference.elem) => {
                Err(Error::new_spanned(
                    &typed.ty,
                    "the context is no part of an interface: the actor gets it by itself",
                ))
            }
            Type::Reference(_) => Err(Error::new_spanned(
                &typed.ty,
                "take this parameter by value: it arrives decoded and is yours",
            )),
            Type::ImplTrait(_) => Err(Error::new_spanned(
                &typed.ty,
                "name the type: what travels must be known when the actor is compiled",
            )),
            ty => Ok(Parameter { name: pattern.ident.clone(), ty: ty.clone() }),
        }
    }

    /// The name in messages; a leading underscore only tells the compiler that the body does not use it.
    pub fn wire_name(&self) -> String {
        self.name.unraw().to_string().trim_start_matches('_').to_owned()
    }
}

const NO_RESULT: &str = "an operation returns `Result<T>`, because every message can fail";

fn check_shape(signature: &Signature) -> Result<()> {
    if signature.asyncness.is_none() {
        return Err(Error::new_spanned(
            signature.fn_token,
            "an operation is an `async fn`; helpers belong outside of this block",
        ));
    }
    if let Some(first) = signature.generics.params.first() {
        return Err(Error::new_spanned(first, "an operation cannot be generic: its messages have one shape"));
    }
    if let Some(clause) = &signature.generics.where_clause {
        return Err(Error::new_spanned(
            clause,
            "an operation cannot be generic: its messages have one shape",
        ));
    }
    if let Some(token) = &signature.unsafety {
        return Err(Error::new_spanned(token, "an operation cannot be unsafe: callers are other programs"));
    }
    match &signature.variadic {
        Some(variadic) => Err(Error::new_spanned(variadic, "an operation has a fixed number of parameters")),
        None => Ok(()),
    }
}

/// The `T` of `Result<T>`. A macro sees names only, so an alias of another name is refused rather than guessed.
pub fn result_value(output: &Type) -> Option<&Type> {
    if let Type::Path(path) = output
        && let Some(last) = path.path.segments.last()
        && last.ident == "Result"
        && let PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(syn::GenericArgument::Type(value)) = arguments.args.first()
    {
        return Some(value);
    }
    None
}

fn is_idempotent(attribute: &Attribute) -> bool {
    attribute.path().is_ident("idempotent")
}

/// Whether the type is called `Context`, which is how users meet the SDK's own.
pub fn is_context(ty: &Type) -> bool {
    is_called(ty, "Context")
}

/// Whether the type is called `Turn`, the context of an operation that writes.
pub fn is_turn(ty: &Type) -> bool {
    is_called(ty, "Turn")
}

fn is_called(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name))
}

/// Whether it is `&self`.
pub fn is_shared(receiver: &Receiver) -> bool {
    receiver.reference.is_some() && receiver.mutability.is_none() && receiver.colon_token.is_none()
}

/// Whether it is `&mut self`.
pub fn is_exclusive(receiver: &Receiver) -> bool {
    receiver.reference.is_some() && receiver.mutability.is_some() && receiver.colon_token.is_none()
}
