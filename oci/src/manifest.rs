//! What a registry says of an artifact: where in it the component is. Pure.

use lattice_proto::{Digest, MAX_ARTIFACT};
use serde::{Deserialize, Serialize};

use crate::error::{Error, shown};

/// The format of manifests, of today and of Docker's time, and of lists of them.
pub const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// What is written.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The configuration of what is written, as the CNCF's working group for Wasm has it.
pub const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// A component, as it is written today.
pub const WASM: &str = "application/wasm";

/// A component, as it was written before there was a rule.
const EARLIER: [&str; 2] =
    ["application/vnd.wasm.content.layer.v1+wasm", "application/vnd.module.wasm.content.layer.v1+wasm"];

/// The component of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Of its bytes, which is also what a lattice knows it by.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// As the manifest says.
    pub media_type: String,
}

/// What a document leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// It is the manifest of a component.
    Layer(Layer),
    /// It is a list, and the manifest of this digest is the one of its component.
    Listed(Digest),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// A reference to something in the registry, as manifests hold them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
}

#[derive(Serialize, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

impl Descriptor {
    pub fn new(media_type: &str, digest: &Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest: digest.to_string(), size, platform: None }
    }
}

/// Finds the component.
///
/// # Errors
/// When there is none, or more than one, or it is too large.
pub fn read(host: &str, bytes: &[u8]) -> Result<Found, Error> {
    let malformed = |reason: &str| Error::Malformed { host: host.to_owned(), reason: reason.to_owned() };
    let document: Document = serde_json::from_slice(bytes).map_err(|_| malformed("this is no manifest"))?;
    let digest = |one: &Descriptor| {
        one.digest.parse::<Digest>().map_err(|_| malformed("a digest that is not SHA-256"))
    };
    if let Some(layers) = &document.layers {
        let is_wasm =
            |layer: &Descriptor| layer.media_type == WASM || EARLIER.contains(&layer.media_type.as_str());
        let one = only(layers, is_wasm);
        let one = one.map_err(|found| {
            let types = layers.iter().take(8).map(|layer| shown(&layer.media_type)).collect::<Vec<_>>().join(", ");
            Error::NoComponent(format!(
                "an artifact has one layer that is a component (`{WASM}`), and this one has {found}; its layers are: {types}"
            ))
        })?;
        if one.size > MAX_ARTIFACT {
            return Err(Error::TooLarge { size: one.size });
        }
        return Ok(Found::Layer(Layer {
            digest: digest(one)?,
            size: one.size,
            media_type: one.media_type.clone(),
        }));
    }
    if let Some(listed) = &document.manifests {
        let is_wasm = |one: &Descriptor| {
            one.platform
                .as_ref()
                .is_some_and(|on| on.architecture.starts_with("wasm") || on.os.starts_with("wasi"))
        };
        let one = only(listed, is_wasm).map_err(|found| {
            Error::NoComponent(format!(
                "this is an index of {} manifests for several platforms, of which {found} is one for Wasm; name the manifest of \
                 the component by its digest",
                listed.len()
            ))
        })?;
        return digest(one).map(Found::Listed);
    }
    Err(malformed("this is a manifest without layers"))
}

/// The only one that fits; else how many do, in words.
fn only(all: &[Descriptor], fits: impl Fn(&Descriptor) -> bool) -> Result<&Descriptor, String> {
    let mut fitting = all.iter().filter(|one| fits(one));
    match (fitting.next(), fitting.count()) {
        (Some(one), 0) => Ok(one),
        (Some(_), others) => Err((others + 1).to_string()),
        (None, _) => Err("none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<Found, String> {
        let digest = Digest::of(b"x");
        let text = text.replace("DIGEST", digest.as_str());
        read("a.example", text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_one_component_is_found() {
        let digest = Digest::of(b"x");
        for media_type in [WASM, EARLIER[0], EARLIER[1]] {
            let text = format!(
                r#"{{"schemaVersion":2,"layers":[{{"mediaType":"text/plain","digest":"sha512:0","size":1}},
                   {{"mediaType":"{media_type}","digest":"DIGEST","size":7,"annotations":{{}}}}]}}"#
            );
            let layer = Layer { digest: digest.clone(), size: 7, media_type: media_type.to_owned() };
            assert_eq!(found(&text), Ok(Found::Layer(layer)));
        }
        let index = r#"{"manifests":[{"mediaType":"m","digest":"DIGEST","size":1,"platform":{"architecture":"wasm","os":"wasip2"}},
            {"mediaType":"m","digest":"sha256:1","size":1,"platform":{"architecture":"amd64","os":"linux"}},
            {"mediaType":"m","digest":"sha256:2","size":1}]}"#;
        assert_eq!(found(index), Ok(Found::Listed(digest)));
    }

    #[test]
    fn what_is_no_component_is_said() {
        let layer =
            |kind: &str, size: &str| format!(r#"{{"mediaType":"{kind}","digest":"DIGEST","size":{size}}}"#);
        let layers = |all: &[String]| format!(r#"{{"layers":[{}]}}"#, all.join(","));
        let platform = r#"{"mediaType":"m","digest":"DIGEST","size":1,"platform":{"architecture":"amd64","os":"linux"}}"#;
        for (text, wanted) in [
            (layers(&[]), "has none"),
            (layers(&[layer("application/vnd.oci.image.layer.v1.tar+gzip", "1")]), "tar+gzip"),
            (layers(&[layer(WASM, "1"), layer(WASM, "1")]), "has 2"),
            (layers(&[layer(WASM, "524288000")]), "has 524288000 bytes"),
            (layers(&[layer(WASM, "-1")]), "no manifest"),
            (layers(&[layer(WASM, "1")]).replace("DIGEST", "sha512:0"), "not SHA-256"),
            (format!(r#"{{"manifests":[{platform}]}}"#), "of which none is one for Wasm"),
            ("{}".to_owned(), "without layers"),
            ("[".to_owned(), "no manifest"),
            ("<html>".to_owned(), "no manifest"),
        ] {
            let error = found(&text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
