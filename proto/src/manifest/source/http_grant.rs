//! `grants.http = ["https://api.example.com", { url = "http://backend.local:8080", private = true }]`: which servers an actor may ask.

use toml::{Spanned, Value};

use super::{Error, Text};
use crate::manifest::{HttpGrant, bound};

pub(super) fn parse(at: &Text<'_>, field: &str, source: &[Spanned<Value>]) -> Result<Vec<HttpGrant>, Error> {
    if let Some(last) = source.get(bound::SERVERS) {
        return Err(at.error(field, last, format!("expected at most {} of them", bound::SERVERS)));
    }
    source
        .iter()
        .map(|grant| read(grant.get_ref()).map_err(|reason| at.error(field, grant, reason)))
        .collect()
}

fn read(grant: &Value) -> Result<HttpGrant, String> {
    const SHAPE: &str = "expected a URL such as `\"https://api.example.com\"`, or \
                         `{ url = \"http://backend.local:8080\", private = true }`";
    let (url, private) = match grant {
        Value::String(url) => (url.as_str(), false),
        Value::Table(fields) => {
            if let Some(other) = fields.keys().find(|name| !matches!(name.as_str(), "url" | "private")) {
                return Err(format!("unknown field `{other}`; {SHAPE}"));
            }
            let url = fields.get("url").and_then(Value::as_str).ok_or(SHAPE)?;
            let private = fields.get("private").map_or(Some(false), Value::as_bool).ok_or(SHAPE)?;
            (url, private)
        }
        _ => return Err(SHAPE.to_owned()),
    };
    Ok(HttpGrant::new(url.parse()?, private)?)
}
