//! Names and passwords for registries, from a file as `docker login` writes it. Programs that keep them elsewhere, `credsStore` and
//! `credHelpers`, are not run: what they are is said where their credentials would be needed.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use lattice_proto::Reference;
use serde::Deserialize;

/// Whom a registry knows.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user, or what a registry wants in its place.
    pub user: String,
    /// The password, or a token.
    pub password: String,
}

/// A password is shown to nobody.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Login {
    /// As HTTP's Basic authentication carries it.
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", BASE64.encode(format!("{}:{}", self.user, self.password).as_bytes()))
    }
}

/// What the file holds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Credentials {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// What is wrong with it; nothing of what it holds is repeated.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| {
            format!(
                "line {}, column {}: this is not a configuration of Docker's",
                error.line(),
                error.column()
            )
        })
    }

    /// The credentials for what a reference names; none where there are none. An entry for a part of a registry is nearer than one for all
    /// of it.
    ///
    /// # Errors
    /// When there are some in a form that cannot be used, as part of a sentence.
    pub fn of(&self, reference: &Reference) -> Result<Option<Login>, String> {
        let host = reference.host();
        let mut place = format!("{host}/{}", reference.repository());
        loop {
            let found = self.auths.iter().find(|(key, entry)| plain(key) == place && !entry.is_empty());
            if let Some((_, entry)) = found {
                return entry
                    .login()
                    .map(Some)
                    .map_err(|reason| format!("the credentials for {place} {reason}"));
            }
            match place.rsplit_once('/') {
                Some((shorter, _)) => place = shorter.to_owned(),
                None => break,
            }
        }
        match self.helpers.get(host).or(self.store.as_ref()) {
            Some(helper) => Err(format!(
                "the credentials for {host} are kept by `docker-credential-{helper}`, which Lattice does not run; write them into `auths`"
            )),
            None => Ok(None),
        }
    }
}

/// Docker writes some of its keys as URLs.
fn plain(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key)
}

impl Entry {
    /// `docker login` leaves an empty entry where a helper has the rest.
    fn is_empty(&self) -> bool {
        let all = [&self.auth, &self.username, &self.password, &self.identitytoken];
        all.into_iter().flatten().all(String::is_empty)
    }

    fn login(&self) -> Result<Login, &'static str> {
        if self.identitytoken.as_ref().is_some_and(|token| !token.is_empty()) {
            return Err("are an identity token, which Lattice does not know; use a name and a password");
        }
        if let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) {
            let bytes = BASE64.decode(auth.as_bytes()).map_err(|_| "are not in Base64")?;
            let text = String::from_utf8(bytes).map_err(|_| "are no text")?;
            let (user, password) = text.split_once(':').ok_or("are not of the form `name:password`")?;
            // Docker has ended some of them with a zero byte.
            let password = password.trim_end_matches('\0');
            return Ok(Login { user: user.to_owned(), password: password.to_owned() });
        }
        let (user, password) = (self.username.clone(), self.password.clone());
        Ok(Login { user: user.unwrap_or_default(), password: password.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, reference: &str) -> Result<Option<String>, String> {
        let credentials = Credentials::parse(text.as_bytes()).unwrap();
        let login = credentials.of(&reference.parse().unwrap())?;
        Ok(login.map(|login| format!("{}/{}", login.user, login.password)))
    }

    #[test]
    fn the_nearest_entry_counts() {
        let auth = |text: &str| BASE64.encode(text.as_bytes());
        let text = format!(
            r#"{{"auths":{{"https://a.example/v1/":{{"auth":"{}"}},"b.example:5000":{{"username":"b","password":"c"}},
               "a.example/team":{{"auth":"{}"}}}},"other":1}}"#,
            auth("a:p:w"),
            auth("team:t")
        );
        assert_eq!(of(&text, "oci://a.example/x:1").unwrap().unwrap(), "a/p:w");
        assert_eq!(of(&text, "oci://a.example/team/x:1").unwrap().unwrap(), "team/t");
        assert_eq!(of(&text, "oci://a.example/teams/x:1").unwrap().unwrap(), "a/p:w");
        assert_eq!(of(&text, "oci://b.example:5000/x:1").unwrap().unwrap(), "b/c");
        assert_eq!(of(&text, "oci://b.example/x:1").unwrap(), None);
        assert_eq!(of("{}", "oci://b.example/x:1").unwrap(), None);
    }

    #[test]
    fn what_cannot_be_used_is_said_where_it_is_needed() {
        let kept =
            r#"{"auths":{"a.example":{}},"credsStore":"desktop","credHelpers":{"b.example":"ecr-login"}}"#;
        assert!(of(kept, "oci://a.example/x:1").unwrap_err().contains("docker-credential-desktop"));
        assert!(of(kept, "oci://b.example/x:1").unwrap_err().contains("docker-credential-ecr-login"));
        let token = r#"{"auths":{"a.example":{"auth":"YTo=","identitytoken":"secret"}}}"#;
        let error = of(token, "oci://a.example/x:1").unwrap_err();
        assert!(error.contains("identity token") && !error.contains("secret"), "{error}");
        for odd in ["!", "eA=="] {
            let text = format!(r#"{{"auths":{{"a.example":{{"auth":"{odd}"}}}}}}"#);
            assert!(of(&text, "oci://a.example/x:1").is_err(), "{odd}");
        }
        let error = Credentials::parse(b"{\"auths\": secret").unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        let login = Login { user: "a".into(), password: "secret".into() };
        assert!(!format!("{login:?}").contains("secret"));
    }
}
