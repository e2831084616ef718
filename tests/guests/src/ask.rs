//! Requests by the standard's HTTP, as any component makes them.

/// Asks for this path by HTTP of 0.2.
#[cfg(target_family = "wasm")]
pub fn get(authority: &str, path: &str) -> String {
    use wasip2::http::outgoing_handler::handle;
    use wasip2::http::types::{ErrorCode, Fields, OutgoingRequest, Scheme};

    let request = OutgoingRequest::new(Fields::new());
    let whole = request
        .set_scheme(Some(&Scheme::Http))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(path)));
    if whole.is_err() {
        return "malformed".to_owned();
    }
    let answer = handle(request, None).and_then(|answer| {
        answer.subscribe().block();
        answer.get().and_then(Result::ok).unwrap_or(Err(ErrorCode::InternalError(None)))
    });
    match answer {
        Ok(answer) => answer.status().to_string(),
        Err(code) => format!("{code:?}"),
    }
}

/// Asks for this path by HTTP of 0.3.
#[cfg(target_family = "wasm")]
pub async fn get_async(authority: &str, path: &str) -> String {
    use wasip3::http::client::send;
    use wasip3::http::types::{Fields, Request, Scheme};

    let (_, trailers) = wasip3::wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, trailers, None);
    let whole = request
        .set_scheme(Some(&Scheme::Http))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(path)));
    if whole.is_err() {
        return "malformed".to_owned();
    }
    match send(request).await {
        Ok(answer) => answer.get_status_code().to_string(),
        Err(code) => format!("{code:?}"),
    }
}

/// Asks nobody, because no unit test does.
#[cfg(not(target_family = "wasm"))]
pub fn get(_: &str, _: &str) -> String {
    "unasked".to_owned()
}

/// The same.
#[cfg(not(target_family = "wasm"))]
pub async fn get_async(authority: &str, path: &str) -> String {
    get(authority, path)
}
