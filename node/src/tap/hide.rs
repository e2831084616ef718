//! Takes out of JSON what is nobody's business. Pure.
//!
//! A value is hidden by the name of its field, and with it all that is in it. A value without a name, as in a list, goes by the name of
//! what it is in; at the top that is the operation. Where a name stands as a value, as in lists of headers, all that stands beside it is
//! hidden. JSON within a text is looked into as well; any other text in which such a name stands is hidden as a whole.

use serde_json::Value;

/// What stands in the place of what is hidden.
pub const HIDDEN: &str = "…";

/// Names that say that they are of secrets.
const ALWAYS: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "bearer",
    "jwt",
    "authorization",
    "apikey",
    "accesskey",
    "signingkey",
    "privatekey",
    "credential",
    "cookie",
    "session",
];

/// The longest name of a field, in bytes, that stands as a value.
const NAME: usize = 64;

/// How deep JSON within texts within JSON is looked into; what is deeper is hidden.
const NESTED: usize = 4;

/// Which fields are hidden.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<String>);

impl Fields {
    /// These, beside those that always are.
    pub fn new(names: &[String]) -> Self {
        let all = ALWAYS.iter().map(|name| (*name).to_owned()).chain(names.iter().map(|name| plain(name)));
        Self(all.filter(|name| !name.is_empty()).collect())
    }

    /// Whether what has this name is hidden: `api_key` and `X-Api-Key` are of `apikey`.
    pub fn hide(&self, name: &str) -> bool {
        let name = plain(name);
        self.0.iter().any(|hidden| name.contains(hidden.as_str()))
    }

    /// A value that this operation was given or gives, without what is hidden.
    pub fn apply(&self, operation: &str, value: &mut Value) {
        if self.hide(operation) {
            *value = HIDDEN.into();
        } else {
            self.within(value, NESTED);
        }
    }

    /// Whether a value is such a name: one word, short enough to be one.
    fn is_name(&self, value: &Value) -> bool {
        let is_word =
            |text: &str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'));
        value.as_str().is_some_and(|text| text.len() <= NAME && is_word(text) && self.hide(text))
    }

    // As deep as a parser that ends at 128 levels goes.
    fn within(&self, value: &mut Value, nested: usize) {
        match value {
            Value::Object(fields) => {
                if fields.values().any(|value| self.is_name(value)) {
                    *value = HIDDEN.into();
                    return;
                }
                for (name, value) in fields {
                    if self.hide(name) {
                        *value = HIDDEN.into();
                    } else {
                        self.within(value, nested);
                    }
                }
            }
            Value::Array(values) if values.iter().any(|value| self.is_name(value)) => *value = HIDDEN.into(),
            Value::Array(values) => values.iter_mut().for_each(|value| self.within(value, nested)),
            Value::String(text) => match serde_json::from_str::<Value>(text) {
                Ok(mut inner @ (Value::Object(_) | Value::Array(_) | Value::String(_))) if nested > 0 => {
                    self.within(&mut inner, nested - 1);
                    *text = inner.to_string();
                }
                Ok(Value::Null | Value::Bool(_) | Value::Number(_)) => {}
                _ if self.hide(text) => *value = HIDDEN.into(),
                // What is wrapped so often says nothing of what is in it.
                Ok(_) => *value = HIDDEN.into(),
                Err(_) => {}
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Letters and digits only, in lower case.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hidden(names: &[&str], operation: &str, mut value: Value) -> Value {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Fields::new(&names).apply(operation, &mut value);
        value
    }

    #[test]
    fn what_is_named_is_hidden_wherever_it_is() {
        let value = json!({
            "user": "ada", "Password": "x", "api_key": 7, "items": [{ "E-Mail": "a@b", "sku": "tea" }],
            "emails": ["a@b", "c@d"], "auth": { "X-Auth-Token": ["x"] },
        });
        let wanted = json!({
            "user": "ada", "Password": HIDDEN, "api_key": HIDDEN, "items": [{ "E-Mail": HIDDEN, "sku": "tea" }],
            "emails": HIDDEN, "auth": { "X-Auth-Token": HIDDEN },
        });
        assert_eq!(hidden(&["email"], "add", value), wanted);
    }

    #[test]
    fn what_has_no_name_goes_by_the_operation() {
        assert_eq!(hidden(&[], "set-password", json!(["ada", "x"])), json!(HIDDEN));
        assert_eq!(hidden(&[], "add", json!(["ada", "x"])), json!(["ada", "x"]));
        assert_eq!(hidden(&["add"], "add", json!("x")), json!(HIDDEN));
    }

    #[test]
    fn names_that_stand_as_values_hide_what_is_beside_them() {
        let headers = json!([["Authorization", "Bearer x"], ["Accept", "text/html"]]);
        assert_eq!(
            hidden(&[], "get", json!({ "headers": headers }))["headers"],
            json!([HIDDEN, ["Accept", "text/html"]])
        );
        let pairs = json!([{ "name": "X-Api-Key", "value": "x" }, { "name": "sku", "value": "tea" }]);
        assert_eq!(hidden(&[], "get", pairs), json!([HIDDEN, { "name": "sku", "value": "tea" }]));
    }

    #[test]
    fn json_within_texts_is_looked_into_and_what_is_none_is_hidden_where_a_name_stands_in_it() {
        let inner = json!({ "token": "zzz", "n": 1 }).to_string();
        let twice = json!({ "body": inner }).to_string();
        let shown =
            hidden(&[], "post", json!({ "body": inner, "again": twice, "text": "{ no json", "n": "7" }));
        assert!(!shown.to_string().contains("zzz"), "{shown}");
        assert_eq!(shown["body"], json!({ "token": HIDDEN, "n": 1 }).to_string());
        assert_eq!((&shown["text"], &shown["n"]), (&json!("{ no json"), &json!("7")));
        for text in [
            "{\"password\":\"zzz\"}\n{\"n\":1}",
            "{\"password\":\"zzz\"",
            "\u{feff}{\"token\":\"zzz\"}",
            "data: {\"token\":\"zzz\"}",
            "user=ada&password=zzz",
            &format!("{}{{\"token\":\"zzz\"}}{}", "[".repeat(200), "]".repeat(200)),
        ] {
            assert_eq!(hidden(&[], "post", json!({ "text": text })), json!({ "text": HIDDEN }), "{text}");
        }
        // Somebody who wraps it again and again does not get it through.
        let mut deep = json!({ "token": "zzz" });
        for _ in 0..10 {
            deep = json!(deep.to_string());
        }
        assert!(!hidden(&[], "post", deep).to_string().contains("zzz"));
    }
}
