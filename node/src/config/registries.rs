//! From which registries this node gets artifacts, how, and what must admit them. It says what is allowed; it opens no file.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use lattice_proto::Reference;
use lattice_proto::reference::{is_host, is_repository};
use serde::Deserialize;

use super::{Error, invalid};

/// What the table `[registries]` of the file says. There are no flags: it is policy, and belongs into a file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RegistriesOptions {
    allow: Vec<String>,
    insecure: Vec<String>,
    elsewhere: Vec<String>,
    credentials: Option<PathBuf>,
    ca: Option<PathBuf>,
    verify: Vec<String>,
}

/// The registries of a node; none unless its operator names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registries {
    /// What may be got.
    pub allow: Vec<Allowed>,
    /// Hosts that are spoken with in the clear.
    pub insecure: BTreeSet<String>,
    /// Hosts to which registries may lead though their addresses are not everybody's.
    pub elsewhere: BTreeSet<String>,
    /// A `config.json` of Docker's.
    pub credentials: Option<PathBuf>,
    /// Authorities in PEM, trusted besides those of the system, for registries and for hosts of `elsewhere`.
    pub ca: Option<PathBuf>,
    /// A program, with its first arguments, that must admit what is got.
    pub verify: Vec<String>,
    /// The file that says all this, where there is one.
    pub file: Option<PathBuf>,
}

/// A registry, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    host: String,
    part: Part,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// All of it.
    All,
    /// What is below this path.
    Below(String),
    /// This one name.
    One(String),
}

impl Allowed {
    fn parse(text: &str) -> Option<Self> {
        let (host, part) = match text.split_once('/') {
            None => (text, Part::All),
            Some((host, path)) => match path.strip_suffix("/*") {
                Some(above) if is_repository(above) => (host, Part::Below(above.to_owned())),
                None if path == "*" => (host, Part::All),
                None if is_repository(path) => (host, Part::One(path.to_owned())),
                _ => return None,
            },
        };
        is_host(host).then(|| Self { host: host.to_owned(), part })
    }

    fn admits(&self, reference: &Reference) -> bool {
        let name = reference.repository();
        self.host == reference.host()
            && match &self.part {
                Part::All => true,
                Part::Below(above) => {
                    name.strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('/'))
                }
                Part::One(one) => name == one,
            }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.part {
            Part::All => f.write_str(&self.host),
            Part::Below(above) => write!(f, "{}/{above}/*", self.host),
            Part::One(one) => write!(f, "{}/{one}", self.host),
        }
    }
}

impl Registries {
    /// Checks what the file says.
    pub(super) fn check(options: RegistriesOptions, file: Option<&Path>) -> Result<Self, Error> {
        let allowed = |text: &String| {
            Allowed::parse(text).ok_or_else(|| {
                let expected = "expected a host such as `ghcr.io` or `registry.example:5000`, with `/NAME` or `/PATH/*` behind it \
                                for a part of what it has";
                invalid("registries.allow", format!("`{}`: {expected}", text.escape_default()))
            })
        };
        let host = |setting: &'static str, port: u16, host: String| match is_host(&host) {
            true => Ok(host),
            false => {
                let expected = format!("expected a host, with its port where that is not {port}");
                Err(invalid(setting, format!("`{}`: {expected}", host.escape_default())))
            }
        };
        let insecure = |name| host("registries.insecure", 80, name);
        let elsewhere = |name| host("registries.elsewhere", 443, name);
        if options.verify.first().is_some_and(String::is_empty) {
            let expected = "expected a program and its arguments, such as [\"cosign\", \"verify\", \"--key\", \"cosign.pub\"]";
            return Err(invalid("registries.verify", expected));
        }
        Ok(Self {
            allow: options.allow.iter().map(allowed).collect::<Result<_, _>>()?,
            insecure: options.insecure.into_iter().map(insecure).collect::<Result<_, _>>()?,
            elsewhere: options.elsewhere.into_iter().map(elsewhere).collect::<Result<_, _>>()?,
            credentials: options.credentials,
            ca: options.ca,
            verify: options.verify,
            file: file.map(Path::to_owned),
        })
    }

    /// The hosts of which something may be got; some of them more than once.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.allow.iter().map(|allowed| allowed.host.as_str())
    }

    /// Whether this may be got.
    pub fn admit(&self, reference: &Reference) -> bool {
        self.allow.iter().any(|allowed| allowed.admits(reference))
    }

    /// The line by which an operator would allow a registry, and where it goes.
    pub fn line_for(&self, host: &str) -> String {
        let mut all: Vec<String> = self.allow.iter().map(|allowed| format!("\"{allowed}\"")).collect();
        all.push(format!("\"{host}\""));
        let line = format!("`allow = [{}]` in the table `[registries]`", all.join(", "));
        // One on the same machine mostly has no certificate.
        let is_near = ["localhost", "127.", "[::1]"].iter().any(|near| host.starts_with(near));
        let plain = match is_near {
            true => format!("; with `insecure = [\"{host}\"]` there, where it speaks plain HTTP"),
            false => String::new(),
        };
        match &self.file {
            Some(file) => format!("write {line} of {}, and start it again{plain}", file.display()),
            None => format!("start it with `--config FILE`, and write {line} of that file{plain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowing(allow: &[&str]) -> Result<Registries, String> {
        let allow = allow.iter().map(|text| (*text).to_owned()).collect();
        let options = RegistriesOptions { allow, ..RegistriesOptions::default() };
        Registries::check(options, Some(Path::new("node.toml"))).map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_is_named_may_be_got() {
        let registries =
            allowing(&["ghcr.io/acme/*", "a.example:5000", "b.example/one", "c.example/*"]).unwrap();
        for (name, wanted) in [
            ("oci://ghcr.io/acme/cart:1", true),
            ("oci://ghcr.io/acme/deep/cart:1", true),
            ("oci://ghcr.io/acme:1", false),
            ("oci://ghcr.io/acmes/cart:1", false),
            ("oci://a.example:5000/any/thing:1", true),
            ("oci://a.example/any:1", false),
            ("oci://a.example:50000/any:1", false),
            ("oci://b.example/one:1", true),
            ("oci://b.example/one/more:1", false),
            ("oci://c.example/any:1", true),
            ("oci://d.example/any:1", false),
        ] {
            assert_eq!(registries.admit(&name.parse().unwrap()), wanted, "{name}");
        }
        assert!(!Registries::default().admit(&"oci://a.example/b:1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_registry_is_refused() {
        for odd in ["", "*", "https://ghcr.io", "ghcr.io/", "ghcr.io/*/cart", "GHCR.io", "ghcr.io/a*", "*.io"]
        {
            assert!(allowing(&[odd]).unwrap_err().starts_with("registries.allow: "), "{odd}");
        }
    }

    #[test]
    fn hosts_are_named_as_registries_name_them() {
        let checked = |insecure: &[&str], elsewhere: &[&str]| {
            let all = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
            let (insecure, elsewhere) = (all(insecure), all(elsewhere));
            let options = RegistriesOptions { insecure, elsewhere, ..RegistriesOptions::default() };
            Registries::check(options, None).map_err(|error| error.to_string())
        };
        let registries = checked(&["a.example:5000"], &["b.example", "[::1]:8443"]).unwrap();
        assert!(
            registries.insecure.contains("a.example:5000") && registries.elsewhere.contains("[::1]:8443")
        );
        assert!(checked(&["http://a.example"], &[]).unwrap_err().starts_with("registries.insecure: "));
        assert!(checked(&[], &["https://b.example"]).unwrap_err().starts_with("registries.elsewhere: "));
    }

    #[test]
    fn an_operator_is_told_the_line_and_its_file() {
        let line = allowing(&["ghcr.io/acme/*"]).unwrap().line_for("a.example:5000");
        assert!(line.contains(r#"`allow = ["ghcr.io/acme/*", "a.example:5000"]`"#), "{line}");
        assert!(line.contains("node.toml"), "{line}");
        assert!(Registries::default().line_for("a.example").contains("--config FILE"));
        assert!(!line.contains("insecure"), "{line}");
        let near = Registries::default().line_for("127.0.0.1:5000");
        assert!(near.contains(r#"`insecure = ["127.0.0.1:5000"]`"#), "{near}");
    }
}
