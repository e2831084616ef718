//! `http = { host, path, methods }`: which requests of the HTTP gateway an actor answers, and whose a request is.
//!
//! Rules:
//! 1. A route has requests of its host, or of any where it names none, at and below its path. Paths are compared as they are written,
//!    part by part.
//! 2. Of several that have a request the one with the most exact host answers, and of those the one with the longest path.
//! 3. No two actors have a request of one method at the same host and path: the later one is refused when it is declared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::ActorName;

/// Where typed actors answer; no route lies there.
pub const ACTORS: &str = "/actors";

/// The longest host name, as DNS has it.
const MAX_HOST: usize = 253;

/// The longest path of a route, in bytes.
const MAX_PATH: usize = 1_024;

/// Requests that an actor answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HttpRoute {
    /// Of which host; of any where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// At and below which path.
    pub path: PathPrefix,
    /// By which methods; by all where there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub methods: BTreeSet<HttpMethod>,
}

impl fmt::Display for HttpRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, method) in self.methods.iter().enumerate() {
            write!(f, "{}{}", if index > 0 { "," } else { "" }, method.0)?;
        }
        if !self.methods.is_empty() {
            f.write_str(" ")?;
        }
        write!(f, "{}{}", self.host.as_ref().map_or("", |host| host.0.as_str()), self.path.0)
    }
}

macro_rules! text {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// As it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    };
}

text!(
    Host,
    "A host by its name, such as `shop.example`; or all hosts one level or more below it, as `*.shop.example`."
);
text!(PathPrefix, "A path without its last `/`, such as `/api`; only `/` itself ends in one.");
text!(HttpMethod, "A method, such as `GET`.");

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let is_label = |label: &str| {
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len())
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        match text.len() <= MAX_HOST && name.split('.').all(is_label) {
            true => Ok(Self(text.to_owned())),
            false => Err(
                "expected the name of a host in small letters, such as `shop.example` or `*.shop.example`, without a port",
            ),
        }
    }
}

impl FromStr for PathPrefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let visible = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\'));
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
        let parts = trimmed.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_part));
        if text.len() > MAX_PATH || !visible || !(text == "/" || parts) {
            return Err("expected a path such as `/` or `/api`, without a query and without `.` and `..`");
        }
        if trimmed == ACTORS || trimmed.starts_with("/actors/") {
            return Err("typed actors answer at `/actors`; choose another path");
        }
        Ok(Self(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() }))
    }
}

impl FromStr for HttpMethod {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            true => Ok(Self(text.to_owned())),
            false => Err("expected a method in capital letters, such as `GET`"),
        }
    }
}

impl Host {
    /// How exactly this names a host, in bytes; none where it does not.
    pub(super) fn names(&self, host: &str) -> Option<usize> {
        match self.0.strip_prefix('*') {
            // The dot stays, so that at least one level is below.
            Some(below) => (host.len() > below.len() && host.ends_with(below)).then_some(below.len()),
            None => (self.0 == host).then_some(usize::MAX),
        }
    }
}

impl PathPrefix {
    /// Whether a path is this one or below it.
    fn has(&self, path: &str) -> bool {
        match self.0.as_str() {
            "/" => path.starts_with('/'),
            prefix => path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

/// Whose a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// This actor's.
    Actor(&'a ActorName),
    /// Somebody's, by one of these methods only.
    Method(BTreeSet<&'a str>),
    /// Nobody's.
    Nobody,
}

/// The routes of a whole lattice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpRoutes {
    /// Those at one host and path, by their actors.
    places: BTreeMap<Place, Vec<(ActorName, BTreeSet<HttpMethod>)>>,
}

/// Where a route is.
type Place = (Option<Host>, PathPrefix);

impl HttpRoutes {
    /// Adds a route, unless another actor has some of its requests: then it gives that actor's name.
    ///
    /// # Errors
    /// Who has them.
    pub fn add(&mut self, actor: &ActorName, route: &HttpRoute) -> Result<(), ActorName> {
        let place = self.places.entry((route.host.clone(), route.path.clone())).or_default();
        let overlaps = |methods: &BTreeSet<HttpMethod>| {
            methods.is_empty() || route.methods.is_empty() || !methods.is_disjoint(&route.methods)
        };
        if let Some((other, _)) = place.iter().find(|(other, methods)| other != actor && overlaps(methods)) {
            return Err(other.clone());
        }
        place.push((actor.clone(), route.methods.clone()));
        Ok(())
    }

    /// Whose a request is: to a host without its port, in small letters, for a path without its query.
    pub fn find(&self, host: &str, path: &str, method: &str) -> Found<'_> {
        let exactness = |(of, prefix): &Place| {
            let host = of.as_ref().map_or(Some(0), |of| of.names(host))?;
            prefix.has(path).then_some((host, prefix.0.len()))
        };
        let places = self.places.iter().filter_map(|(place, actors)| Some((exactness(place)?, actors)));
        let Some((_, actors)) = places.max_by_key(|(exactness, _)| *exactness) else { return Found::Nobody };
        let has = |methods: &BTreeSet<HttpMethod>| {
            methods.is_empty() || methods.iter().any(|other| other.0 == method)
        };
        match actors.iter().find(|(_, methods)| has(methods)) {
            Some((actor, _)) => Found::Actor(actor),
            None => Found::Method(
                actors.iter().flat_map(|(_, methods)| methods).map(HttpMethod::as_str).collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> HttpRoute {
        let (methods, place) = text.split_once(' ').unwrap_or(("", text));
        let (host, path) = place.split_at(place.find('/').unwrap());
        let methods = methods.split(',').filter(|method| !method.is_empty());
        HttpRoute {
            host: (!host.is_empty()).then(|| host.parse().unwrap()),
            path: path.parse().unwrap(),
            methods: methods.map(|method| method.parse().unwrap()).collect(),
        }
    }

    fn routes(all: &[(&str, &str)]) -> HttpRoutes {
        let mut routes = HttpRoutes::default();
        for (actor, text) in all {
            routes.add(&actor.parse().unwrap(), &route(text)).unwrap();
        }
        routes
    }

    #[test]
    fn the_most_exact_host_and_then_the_longest_path_answers() {
        let routes = routes(&[
            ("any", "/"),
            ("api", "/api"),
            ("v2", "/api/v2"),
            ("shop", "shop.example/"),
            ("below", "*.shop.example/"),
            ("deep", "*.eu.shop.example/"),
        ]);
        let table = [
            ("x", "/", "any"),
            ("x", "/apis", "any"),
            ("x", "/api", "api"),
            ("x", "/api/", "api"),
            ("x", "/api/v1", "api"),
            ("x", "/api/v2/x", "v2"),
            ("shop.example", "/api/v2", "shop"),
            ("a.shop.example", "/", "below"),
            ("a.eu.shop.example", "/", "deep"),
            ("eu.shop.example", "/", "below"),
            ("evilshop.example", "/", "any"),
        ];
        for (host, path, actor) in table {
            let found = routes.find(host, path, "GET");
            assert_eq!(found, Found::Actor(&actor.parse().unwrap()), "{host}{path}");
        }
        assert_eq!(routes.find("x", "*", "OPTIONS"), Found::Nobody);
    }

    #[test]
    fn methods_share_a_path_and_do_not_overlap() {
        let mut routes = routes(&[("read", "GET,HEAD /x"), ("write", "POST /x")]);
        assert_eq!(routes.find("h", "/x", "HEAD"), Found::Actor(&"read".parse().unwrap()));
        assert_eq!(routes.find("h", "/x/1", "POST"), Found::Actor(&"write".parse().unwrap()));
        assert_eq!(routes.find("h", "/x", "PUT"), Found::Method(["GET", "HEAD", "POST"].into()));
        let third: ActorName = "third".parse().unwrap();
        assert_eq!(routes.add(&third, &route("HEAD,PUT /x")).unwrap_err().as_str(), "read");
        assert_eq!(routes.add(&third, &route("/x")).unwrap_err().as_str(), "read");
        assert!(routes.add(&third, &route("PUT /x")).is_ok());
        assert!(routes.add(&third, &route("PUT /x")).is_ok(), "its own is no other's");
        assert!(routes.add(&third, &route("GET h.example/x")).is_ok());
    }

    #[test]
    fn routes_are_read_as_they_are_shown() {
        for text in ["/", "/api", "GET,POST shop.example/a", "*.shop.example/"] {
            assert_eq!(route(text).to_string(), text);
        }
        assert_eq!(route("/api/").to_string(), "/api");
    }

    #[test]
    fn what_is_no_host_path_or_method_is_refused() {
        for host in ["", "Shop.example", "shop.example:80", "*", "*.", "a..b", "-a.b", "a.*.b", "ä.b"] {
            assert!(host.parse::<Host>().is_err(), "{host}");
        }
        for path in [
            "",
            "api",
            "//",
            "/a//b",
            "/a?b",
            "/a#b",
            "/..",
            "/a/./b",
            "/actors",
            "/actors/",
            "/actors/x",
            "/ä",
            "/a b",
        ] {
            assert!(path.parse::<PathPrefix>().is_err(), "{path}");
        }
        assert!("/actorsx".parse::<PathPrefix>().is_ok());
        for method in ["", "get", "GET ", "G/T"] {
            assert!(method.parse::<HttpMethod>().is_err(), "{method}");
        }
    }
}
