//! `http = { … }`, or a list of such: which requests an actor answers.

use std::collections::BTreeSet;
use std::str::FromStr;

use toml::{Spanned, Value};

use super::{Error, Text};
use crate::manifest::{HttpRoute, bound};

/// Requests that one replica handles at once, where the manifest does not say.
pub(super) const CONCURRENCY: u32 = 64;

pub(super) fn parse(at: &Text<'_>, field: &str, source: &Spanned<Value>) -> Result<Vec<HttpRoute>, Error> {
    let one = std::slice::from_ref(source.get_ref());
    let routes = source.get_ref().as_array().map_or(one, Vec::as_slice);
    if routes.is_empty() || routes.len() > bound::ROUTES {
        return Err(at.error(field, source, format!("expected 1 to {} routes", bound::ROUTES)));
    }
    let route = |route| {
        let wrong =
            |(name, reason): (&str, String)| at.error(format!("{field}{name}").as_str(), source, reason);
        read(route).map_err(wrong)
    };
    routes.iter().map(route).collect()
}

/// One route; or the field that is wrong, and why.
fn read(route: &Value) -> Result<HttpRoute, (&'static str, String)> {
    const SHAPE: &str = "expected `{ host = \"shop.example\", path = \"/api\", methods = [\"GET\"] }`, any of which may be missing";
    let fields = route.as_table().ok_or(("", SHAPE.to_owned()))?;
    if let Some(other) = fields.keys().find(|name| !matches!(name.as_str(), "host" | "path" | "methods")) {
        return Err(("", format!("unknown field `{other}`; {SHAPE}")));
    }
    let methods = match fields.get("methods") {
        None => BTreeSet::new(),
        Some(Value::Array(methods)) if !methods.is_empty() => {
            methods.iter().map(|method| text(".methods", method)).collect::<Result<_, _>>()?
        }
        Some(_) => {
            return Err((".methods", "expected a list of methods, such as [\"GET\", \"HEAD\"]".to_owned()));
        }
    };
    let root = Value::from("/");
    Ok(HttpRoute {
        host: fields.get("host").map(|host| text(".host", host)).transpose()?,
        path: text(".path", fields.get("path").unwrap_or(&root))?,
        methods,
    })
}

fn text<T: FromStr<Err = &'static str>>(
    field: &'static str,
    value: &Value,
) -> Result<T, (&'static str, String)> {
    let text = value.as_str().ok_or("expected a text");
    text.and_then(str::parse).map_err(|reason| (field, reason.to_owned()))
}
