//! A component for the standard's HTTP that keeps values by `wasi:keyvalue`, and knows nothing of Lattice. The path says what it does, in a
//! store that the query begins with; the answer says what came of it.

#![cfg(target_family = "wasm")]
#![allow(clippy::unwrap_used, reason = "what it cannot do is a trap, as of any guest")]

#[allow(unsafe_code, missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
mod bindings {
    // The few functions that are called here.
    wit_bindgen::generate!({
        inline: r"
            package test:keeper;
            package wasi:keyvalue@0.2.0-draft {
                interface store {
                    variant error { no-such-store, access-denied, other(string) }
                    record key-response { keys: list<string>, cursor: option<u64> }
                    resource bucket {
                        get: func(key: string) -> result<option<list<u8>>, error>;
                        set: func(key: string, value: list<u8>) -> result<_, error>;
                        delete: func(key: string) -> result<_, error>;
                        exists: func(key: string) -> result<bool, error>;
                        list-keys: func(cursor: option<u64>) -> result<key-response, error>;
                    }
                    open: func(identifier: string) -> result<bucket, error>;
                }
                interface atomics {
                    use store.{bucket, error};
                    increment: func(bucket: borrow<bucket>, key: string, delta: u64) -> result<u64, error>;
                }
                interface batch {
                    use store.{bucket, error};
                    get-many: func(bucket: borrow<bucket>, keys: list<string>)
                        -> result<list<option<tuple<string, list<u8>>>>, error>;
                    set-many: func(bucket: borrow<bucket>, key-values: list<tuple<string, list<u8>>>) -> result<_, error>;
                    delete-many: func(bucket: borrow<bucket>, keys: list<string>) -> result<_, error>;
                }
            }
            package wasi:keyvalue@0.2.0-draft2 {
                interface store {
                    variant error { no-such-store, access-denied, other(string) }
                    record key-response { keys: list<string>, cursor: option<string> }
                    resource bucket {
                        list-keys: func(cursor: option<string>) -> result<key-response, error>;
                    }
                    open: func(identifier: string) -> result<bucket, error>;
                }
                interface atomics {
                    use store.{bucket, error};
                    resource cas {
                        new: static func(bucket: borrow<bucket>, key: string) -> result<cas, error>;
                        current: func() -> result<option<list<u8>>, error>;
                    }
                    variant cas-error { store-error(error), cas-failed(cas) }
                    increment: func(bucket: borrow<bucket>, key: string, delta: s64) -> result<s64, error>;
                    swap: func(cas: cas, value: list<u8>) -> result<_, cas-error>;
                }
            }
            package wasi:config@0.2.0-rc.1 {
                interface store {
                    variant error { upstream(string), io(string) }
                    get: func(key: string) -> result<option<string>, error>;
                    get-all: func() -> result<list<tuple<string, string>>, error>;
                }
            }
            package wasi:logging@0.1.0-draft {
                interface logging {
                    enum level { trace, debug, info, warn, error, critical }
                    log: func(level: level, context: string, message: string);
                }
            }
            world keeper {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:config/store@0.2.0-rc.1;
                import wasi:logging/logging@0.1.0-draft;
            }
        ",
        world: "test:keeper/keeper",
        generate_all,
    });
}

use bindings::wasi::config::store as config;
use bindings::wasi::keyvalue0_2_0_draft::{atomics, batch, store};
use bindings::wasi::keyvalue0_2_0_draft2::{atomics as atomics2, store as store2};
use bindings::wasi::logging::logging::{Level, log};
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wasip2::http::proxy::export!(Keeper);

struct Keeper;

impl wasip2::exports::http::incoming_handler::Guest for Keeper {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let mut words = query.split('&');
        let mut word = || words.next().unwrap_or_default();
        let said = match path {
            "/config" => format!("{:?} of {:?}", config::get(word()), config::get_all()),
            "/log" => {
                log(Level::Warn, "keeper", "the standard's warning");
                log(Level::Critical, "keeper", "the standard's worst");
                "said".to_owned()
            }
            _ => kept(path, word(), word(), word()).unwrap_or_else(|error| format!("{error:?}")),
        };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().unwrap();
        for part in said.as_bytes().chunks(4_096) {
            stream.blocking_write_and_flush(part).unwrap();
        }
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}

fn kept(path: &str, name: &str, key: &str, value: &str) -> Result<String, store::Error> {
    let bucket = store::open(name)?;
    Ok(match path {
        "/increment" => atomics::increment(&bucket, key, value.parse().unwrap_or(1))?.to_string(),
        "/get" => match bucket.get(key)? {
            Some(value) => String::from_utf8_lossy(&value).into_owned(),
            None => "nothing".to_owned(),
        },
        "/set" => format!("{:?}", bucket.set(key, value.as_bytes())?),
        "/delete" => format!("{:?}", bucket.delete(key)?),
        "/exists" => bucket.exists(key)?.to_string(),
        // A value of so many bytes.
        "/large" => format!("{:?}", bucket.set(key, &vec![b'x'; value.parse().unwrap()])?),
        // So many keys, all of them listed; then as the other draft does it.
        "/many" => {
            let names: Vec<String> =
                (0..value.parse().unwrap()).map(|number| format!("{key}/{number}")).collect();
            for names in names.chunks(500) {
                let pairs: Vec<_> =
                    names.iter().map(|name| (name.clone(), name.clone().into_bytes())).collect();
                batch::set_many(&bucket, &pairs)?;
            }
            let (mut found, mut pages, mut cursor) = (Vec::new(), 0, None);
            loop {
                let page = bucket.list_keys(cursor)?;
                (found, pages) = (found.into_iter().chain(page.keys).collect(), pages + 1);
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            let other = store2::open(name).unwrap();
            let (mut count, mut cursor) = (0, None);
            loop {
                let page = other.list_keys(cursor.as_deref()).unwrap();
                count += page.keys.len();
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            found.sort();
            found.dedup();
            let some = [names[0].clone(), "missing".to_owned()];
            let read = batch::get_many(&bucket, &some)?;
            let shown: Vec<_> = read.iter().map(|pair| pair.as_ref().map(|(key, _)| key.as_str())).collect();
            batch::delete_many(&bucket, &some)?;
            let gone = !bucket.exists(&names[0])?;
            format!(
                "{} keys in {pages} pages, {count} by the other draft; read {shown:?}, gone {gone}",
                found.len()
            )
        }
        // Counts up by compare-and-set, however often others come before.
        "/swap" => {
            let bucket = store2::open(name).unwrap();
            let mut cas = atomics2::Cas::new(&bucket, key).unwrap();
            loop {
                let now = cas.current().unwrap().unwrap_or_else(|| b"0".to_vec());
                let next = String::from_utf8(now).unwrap().parse::<u64>().unwrap() + 1;
                match atomics2::swap(cas, next.to_string().as_bytes()) {
                    Ok(()) => break next.to_string(),
                    Err(atomics2::CasError::CasFailed(newer)) => cas = newer,
                    Err(error) => break format!("{error:?}"),
                }
            }
        }
        "/down" => {
            let bucket = store2::open(name).unwrap();
            format!("{:?}", atomics2::increment(&bucket, key, -3))
        }
        _ => "no such path".to_owned(),
    })
}
