//! What is asked of one registry for one reference: it signs in when it is told to, and follows where it is led.

use std::sync::Arc;

use http::header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_auth::ChallengeRef;
use http_auth::parser::ChallengeParser;
use lattice_proto::Reference;
use serde::Deserialize;

use crate::credentials::Login;
use crate::error::{Error, shown};
use crate::url::Url;
use crate::wire::{Answer, Ask, Upload, Wire};

/// Places that are gone to for one answer, one after the other.
const LED: usize = 5;

/// What a token server answers, in bytes.
const MAX_TOKEN: u64 = 64 << 10;

/// What somebody wants of a registry.
#[derive(Clone, Copy)]
pub enum Wish {
    Pull,
    Push,
}

/// Requests to one registry.
pub struct Session {
    wire: Arc<Wire>,
    reference: Reference,
    login: Option<Login>,
    wish: Wish,
    authorization: Option<HeaderValue>,
}

/// What a token server gives; some say it in one way, some in the other.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Session {
    pub fn new(wire: Arc<Wire>, reference: &Reference, login: Option<Login>, wish: Wish) -> Self {
        Self { wire, reference: reference.clone(), login, wish, authorization: None }
    }

    pub fn host(&self) -> &str {
        self.reference.host()
    }

    /// A place in the repository, such as `manifests/1.2`.
    pub fn at(&self, what: &str) -> Url {
        self.wire.at(self.host(), format!("/v2/{}/{what}", self.reference.repository()))
    }

    /// What the registry has at a place in the repository.
    pub async fn get(&mut self, what: &str, headers: HeaderMap) -> Result<Answer, Error> {
        let url = self.at(what);
        self.ask(Ask { method: Method::GET, url, headers, upload: Upload::default() }).await
    }

    /// Asks; once more, with what the registry wants to see, where it wants any.
    pub async fn ask(&mut self, ask: Ask) -> Result<Answer, Error> {
        let answer = self.follow(ask.clone()).await?;
        // Only the registry is signed in to: others to which it leads have to answer without, and name no token server.
        if answer.status != StatusCode::UNAUTHORIZED || !answer.url.is_beside(&self.at("")) {
            return Ok(answer);
        }
        self.authorization = Some(self.authorize(&answer.headers).await?);
        let answer = self.follow(ask).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED => Err(self.unauthorized()),
            _ => Ok(answer),
        }
    }

    async fn follow(&self, mut ask: Ask) -> Result<Answer, Error> {
        let first = ask.url.clone();
        for _ in 0..=LED {
            // A token would let whoever gets it do what it is for.
            match &self.authorization {
                Some(value) if ask.url.is_beside(&self.at("")) => {
                    ask.headers.insert(AUTHORIZATION, value.clone());
                }
                _ => drop(ask.headers.remove(AUTHORIZATION)),
            }
            let answer = self.wire.send(ask.clone(), &self.at("")).await?;
            let is_led = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308)
                && (ask.method == Method::GET || ask.method == Method::HEAD);
            if !is_led {
                return Ok(answer);
            }
            ask.url = self.led(&answer)?;
        }
        Err(Error::Malformed {
            host: first.host,
            reason: format!("it leads on and on, {LED} times and more"),
        })
    }

    /// Where an answer leads to.
    ///
    /// # Errors
    /// When that is nowhere, or cannot be gone to.
    pub fn led(&self, answer: &Answer) -> Result<Url, Error> {
        let from = &answer.url;
        let place = answer.headers.get(LOCATION).and_then(|place| place.to_str().ok());
        let url = place.and_then(|place| from.to(place));
        let url = url.ok_or_else(|| Error::Malformed {
            host: from.host.clone(),
            reason: "it names no place to go on at".to_owned(),
        })?;
        match self.wire.admits(&url) {
            true => Ok(url),
            false => Err(Error::Astray { host: from.host.clone(), place: shown(&url.host) }),
        }
    }

    /// What the registry wants to see, by what it says of that.
    async fn authorize(&self, headers: &HeaderMap) -> Result<HeaderValue, Error> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|text| text.to_str().ok());
        let challenges: Vec<_> = texts.flat_map(|text| ChallengeParser::new(text).flatten()).collect();
        let of = |scheme: &str| challenges.iter().find(|one| one.scheme.eq_ignore_ascii_case(scheme));
        let text = match (of("Bearer"), of("Basic"), &self.login) {
            (Some(bearer), _, _) => format!("Bearer {}", self.token(bearer).await?),
            (None, Some(_), Some(login)) => login.basic(),
            (None, Some(_), None) => return Err(self.unauthorized()),
            (None, None, _) => {
                return Err(self.malformed("it wants authentication of a kind that is not known"));
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| self.malformed("a token"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn token(&self, challenge: &ChallengeRef<'_>) -> Result<String, Error> {
        let parameter = |name: &str| {
            let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let url = parameter("realm").and_then(|realm| Url::parse(&realm));
        let mut url = url.ok_or_else(|| self.malformed("it names no token server"))?;
        if !self.wire.admits(&url) {
            return Err(Error::Astray { host: self.host().to_owned(), place: shown(&url.host) });
        }
        if let Some(service) = parameter("service") {
            url = url.with("service", &service);
        }
        let actions = match self.wish {
            Wish::Pull => "pull",
            Wish::Push => "pull,push",
        };
        url = url.with("scope", &format!("repository:{}:{actions}", self.reference.repository()));
        let mut headers = HeaderMap::new();
        if let Some(login) = &self.login {
            let value = HeaderValue::from_str(&login.basic());
            let mut value = value.expect("Base64 can stand in a header");
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let ask = Ask { method: Method::GET, url, headers, upload: Upload::default() };
        let mut answer = self.wire.send(ask, &self.at("")).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.unauthorized()),
            _ => return Err(answer.refused("token").await),
        }
        let text = answer.all("a token", MAX_TOKEN).await?;
        let token = serde_json::from_slice::<Token>(&text).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        token.ok_or_else(|| self.malformed("its token server sends no token"))
    }

    fn unauthorized(&self) -> Error {
        Error::Unauthorized { host: self.host().to_owned(), known: self.login.is_some() }
    }

    pub fn malformed(&self, reason: &str) -> Error {
        Error::Malformed { host: self.host().to_owned(), reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Said, Scripted, access, answer, manifest_of, pull};

    /// A registry that wants a token, which it gives itself, and that has its layer at another place.
    async fn leading(place: String) -> Scripted {
        Scripted::start(move |head| {
            let line = head.lines().next().unwrap_or_default();
            let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
            match line {
                _ if line.contains("/token") => answer("200 OK", "", r#"{"token":"good"}"#),
                _ if !head.contains("authorization: Bearer good") => {
                    let challenge = format!("www-authenticate: Bearer realm=\"http://{host}/token\"\r\n");
                    answer("401 Unauthorized", &challenge, "")
                }
                _ if line.contains("/manifests/") => manifest_of("layer"),
                _ => answer("307 Temporary Redirect", &format!("location: {place}\r\n"), ""),
            }
        })
        .await
    }

    #[tokio::test]
    async fn who_is_led_to_somebody_else_shows_no_authorization_there() {
        let store = Scripted::start(|_| answer("200 OK", "", "layer")).await;
        let registry = leading(format!("http://{}/layer", store.host)).await;
        pull(&registry, access(&[&registry, &store], &[])).await.unwrap();
        let asked = store.asked();
        assert_eq!(asked.len(), 1);
        assert!(!asked[0].to_ascii_lowercase().contains("authorization"), "{}", asked[0]);
        let with = |what: &str| registry.asked().iter().filter(|head| head.contains(what)).count();
        assert_eq!((with("authorization: Basic "), with("authorization: Bearer good")), (1, 2));
    }

    #[tokio::test]
    async fn nobody_is_led_into_a_private_network_who_does_not_say_so() {
        let inside = Scripted::start(|_| answer("200 OK", "", "layer")).await;
        let registry = leading(format!("https://{}/layer", inside.host)).await;
        let error = pull(&registry, access(&[&registry], &[])).await.unwrap_err();
        assert!(matches!(&error, Error::Inward { place, .. } if *place == inside.host), "{error}");
        // A name of it is none the better.
        let port = inside.host.rsplit_once(':').unwrap().1;
        let named = leading(format!("https://localhost:{port}/layer")).await;
        let error = pull(&named, access(&[&named], &[])).await.unwrap_err();
        assert!(matches!(&error, Error::Inward { .. }), "{error}");
        // Nor is a token server.
        let realm = format!("www-authenticate: Bearer realm=\"https://{}/token\"\r\n", inside.host);
        let greedy = Scripted::start(move |_| answer("401 Unauthorized", &realm, "")).await;
        let error = pull(&greedy, access(&[&greedy], &[])).await.unwrap_err();
        assert!(matches!(&error, Error::Inward { .. }), "{error}");
        assert_eq!(inside.asked(), [""; 0]);
        // Where it is named it is asked, though not in the clear, which is all that it speaks.
        let error = pull(&registry, access(&[&registry], &[&inside])).await.unwrap_err();
        assert!(matches!(&error, Error::InTheClear { .. } | Error::Tls { .. }), "{error}");
        assert_eq!(inside.asked().len(), 1);
    }

    #[tokio::test]
    async fn what_the_registry_says_is_repeated_and_what_others_say_is_not() {
        let secret = r#"{"errors":[{"message":"secret of somebody else"}]}"#;
        let store = Scripted::start(move |_| answer("500 Oh", "", secret)).await;
        let registry = leading(format!("http://{}/layer", store.host)).await;
        let error = pull(&registry, access(&[&registry, &store], &[])).await.unwrap_err().to_string();
        assert!(error.contains(&store.host) && error.contains("500") && !error.contains("secret"), "{error}");
        let registry = Scripted::start(|_| answer("500 Oh", "", r#"{"errors":[{"message":"full"}]}"#)).await;
        let error = pull(&registry, access(&[&registry], &[])).await.unwrap_err().to_string();
        assert!(error.ends_with("500: full"), "{error}");
    }

    #[tokio::test]
    async fn who_says_nothing_is_given_up() {
        let silent = Scripted::start(|_| Said::Part(String::new())).await;
        let stalls = Scripted::start(|head| match head.contains("/manifests/") {
            true => manifest_of("layer"),
            false => Said::Part("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nla".to_owned()),
        })
        .await;
        for registry in [silent, stalls] {
            let error = pull(&registry, access(&[&registry], &[])).await.unwrap_err().to_string();
            assert!(error.ends_with("said nothing for 0.1 s"), "{error}");
        }
    }
}
