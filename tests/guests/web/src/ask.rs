//! Asks servers: by the method and with the body that came, and answers with what comes back, as it comes.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingRequest, IncomingResponse, OutgoingBody,
    OutgoingRequest, OutgoingResponse, RequestOptions, ResponseOutparam, Scheme,
};
use wasip2::io::poll::poll;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use super::{PART, say, write};

/// One server. Why there is no answer is a 502 with the standard's name for it.
pub fn one(request: &IncomingRequest, url: &str, out: ResponseOutparam) {
    let (status, answer) = match ask(request, url) {
        Ok(answer) => (answer.status(), Ok(answer)),
        Err(code) => (502, Err(code)),
    };
    let fields = Fields::new();
    if let Ok(answer) = &answer {
        for (name, value) in answer.headers().entries() {
            // Its length is not sent along, so that an answer that breaks off shows as such by itself.
            if name != "content-length" {
                fields.append(&name, &value).unwrap();
            }
        }
    }
    let response = OutgoingResponse::new(fields);
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    match answer {
        Ok(answer) => {
            let incoming = answer.consume().unwrap();
            copy(&incoming.stream().unwrap(), &body.write().unwrap());
            OutgoingBody::finish(body, None).unwrap();
        }
        Err(code) => say(body, format!("{code:?}").as_bytes()),
    }
}

/// So many requests at once to a server that never answers; tells how many of them failed, as soon as those that are to do so have.
pub fn many(query: &str, out: ResponseOutparam) {
    let (counts, url) = query.split_once('&').unwrap();
    let (all, failing) = counts.split_once(',').unwrap();
    let failing: usize = failing.parse().unwrap();
    let mut waiting: Vec<FutureIncomingResponse> = (0..all.parse().unwrap())
        .map(|_| {
            let (request, body) = outgoing(url, Fields::new()).unwrap();
            OutgoingBody::finish(body, None).unwrap();
            handle(request, None).unwrap()
        })
        .collect();
    let mut failed = Vec::new();
    while failed.len() < failing {
        let pollables: Vec<_> = waiting.iter().map(FutureIncomingResponse::subscribe).collect();
        let ready = poll(&pollables.iter().collect::<Vec<_>>());
        drop(pollables);
        for index in ready.into_iter().rev() {
            let answer = waiting.remove(index as usize).get().unwrap().unwrap();
            failed.push(answer.err().unwrap());
        }
    }
    failed.dedup_by_key(|code| format!("{code:?}"));
    say(super::answer(out, &[]), format!("{} wait, {failed:?}", waiting.len()).as_bytes());
}

fn outgoing(url: &str, headers: Fields) -> Result<(OutgoingRequest, OutgoingBody), ErrorCode> {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let to = OutgoingRequest::new(headers);
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    to.set_scheme(Some(&scheme)).unwrap();
    to.set_authority(Some(authority)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    to.set_path_with_query(Some(path)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let body = to.body().unwrap();
    Ok((to, body))
}

/// `x-traceparent` of the request is `traceparent` of the one that goes out, and `x-timeout-ms` are its three times.
fn ask(request: &IncomingRequest, url: &str) -> Result<IncomingResponse, ErrorCode> {
    let given = |name: &str| request.headers().get(name).into_iter().next();
    let headers = Fields::new();
    if let Some(trace) = given("x-traceparent") {
        headers.append("traceparent", &trace).unwrap();
    }
    let (to, body) = outgoing(url, headers)?;
    to.set_method(&request.method()).unwrap();
    let options = given("x-timeout-ms").map(|times| {
        let times = String::from_utf8(times).unwrap();
        let times: Vec<u64> = times.split(',').map(|ms| ms.parse::<u64>().unwrap() * 1_000_000).collect();
        let options = RequestOptions::new();
        options.set_connect_timeout(Some(times[0])).unwrap();
        options.set_first_byte_timeout(Some(times[1])).unwrap();
        options.set_between_bytes_timeout(Some(times[2])).unwrap();
        options
    });
    let answer = handle(to, options)?;
    let incoming = request.consume().unwrap();
    copy(&incoming.stream().unwrap(), &body.write().unwrap());
    let _ = OutgoingBody::finish(body, None);
    answer.subscribe().block();
    answer.get().unwrap().unwrap()
}

/// Until one end has no more, or the other takes no more. What breaks off is a trap.
fn copy(from: &InputStream, to: &OutputStream) {
    loop {
        match from.blocking_read(PART as u64) {
            Ok(part) => {
                if write(to, &part).is_err() {
                    return;
                }
            }
            Err(StreamError::Closed) => return,
            Err(error) => panic!("it broke off: {error:?}"),
        }
    }
}
