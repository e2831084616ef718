//! A component for the standard's HTTP that is linked to another actor: `/ONE/TWO` answers with the sum, as that other one makes it.

#![cfg(target_family = "wasm")]
#![allow(clippy::unwrap_used, reason = "what it cannot do is a trap, as of any guest")]

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// What wit-bindgen makes of the WIT package.
#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated, and the canonical ABI is raw memory")]
mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "page" });
}

use bindings::acme::values::adder;

wasip2::http::proxy::export!(Page);

struct Page;

impl wasip2::exports::http::incoming_handler::Guest for Page {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap();
        let mut numbers = path.split('/').skip(1).map(|number| number.parse().unwrap());
        let sum = adder::add(numbers.next().unwrap(), numbers.next().unwrap());
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().unwrap();
        stream.blocking_write_and_flush(sum.to_string().as_bytes()).unwrap();
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}
