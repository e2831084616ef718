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
            let answer = self.wire.send(ask.clone()).await?;
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
        let mut answer = self.wire.send(ask).await?;
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
