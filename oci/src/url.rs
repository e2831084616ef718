//! Where something is to be had by HTTP. What a registry gives as a place is read here, and nowhere else.

use std::fmt;

use http::Uri;

/// A place that a request can go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub secure: bool,
    /// Host, with its port where one is named.
    pub host: String,
    /// With the query.
    pub path: String,
}

impl Url {
    /// A place in a registry.
    pub fn new(secure: bool, host: &str, path: String) -> Self {
        Self { secure, host: host.to_owned(), path }
    }

    /// What a registry names: a whole URL, or a path beside this one.
    pub fn to(&self, place: &str) -> Option<Self> {
        if place.starts_with('/') && !place.starts_with("//") {
            let uri: Uri = place.parse().ok()?;
            return Some(Self { path: uri.path_and_query()?.to_string(), ..self.clone() });
        }
        Self::parse(place)
    }

    /// A whole URL, with no user in it.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri.authority().filter(|host| !host.as_str().contains('@'))?.as_str().to_ascii_lowercase();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Self { secure, host, path })
    }

    /// The same with one more parameter.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let sign = if self.path.contains('?') { '&' } else { '?' };
        let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
        self.path = format!("{}{sign}{name}={value}", self.path);
        self
    }

    /// Name or address, and port.
    pub fn name_and_port(&self) -> (&str, u16) {
        let standard = if self.secure { 443 } else { 80 };
        let (name, port) = match self.host.rsplit_once(':') {
            // The last colon of an address in brackets without a port is one of its own.
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().unwrap_or(standard)),
            _ => (self.host.as_str(), standard),
        };
        (name.trim_matches(['[', ']']), port)
    }

    /// Whether both are one server, spoken with in the same way.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.secure == other.secure && self.name_and_port() == other.name_and_port()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.secure { "https" } else { "http" }, self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_registries_write_them() {
        let here = Url::new(true, "a.example:5000", "/v2/x/blobs/uploads/".to_owned());
        let at = |place: &str| here.to(place).map(|url| url.to_string());
        assert_eq!(at("/v2/y?z=1").unwrap(), "https://a.example:5000/v2/y?z=1");
        assert_eq!(at("http://B.example/y").unwrap(), "http://b.example/y");
        assert_eq!(at("https://b.example").unwrap(), "https://b.example/");
        for odd in ["//b.example/y", "y", "", "ftp://b.example/", "https://user:word@b.example/", "https://"]
        {
            assert_eq!(at(odd), None, "{odd}");
        }
        let asked = here.to("/v2/y?z=1").unwrap().with("digest", "sha256:a&b");
        assert_eq!(asked.path, "/v2/y?z=1&digest=sha256%3Aa%26b");
    }

    #[test]
    fn servers_are_told_apart_by_scheme_name_and_port() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(url("https://a.example/1").is_beside(&url("https://a.example:443/2")));
        assert!(!url("https://a.example/").is_beside(&url("http://a.example:443/")));
        assert!(!url("https://a.example/").is_beside(&url("https://a.example:444/")));
        assert!(!url("https://a.example/").is_beside(&url("https://b.a.example/")));
        assert_eq!(url("http://[::1]/").name_and_port(), ("::1", 80));
        assert_eq!(url("http://[::1]:5000/").name_and_port(), ("::1", 5000));
    }
}
