//! A component as it is put into a registry: its bytes, and what it says of itself. Nothing is compiled.

use bytes::Bytes;
use lattice_proto::MAX_ARTIFACT;
use wasmparser::{Parser, Payload};

/// The bytes of a component.
#[derive(Debug, Clone)]
pub struct Component {
    pub(crate) bytes: Bytes,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// Why some bytes are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoComponent {
    /// More than an artifact has.
    #[error("it has {0} bytes, and an artifact has at most {MAX_ARTIFACT}")]
    TooLarge(u64),
    /// A module.
    #[error(
        "it is a core module; build it for `wasm32-wasip2`, or make it a component with `wasm-tools component new`"
    )]
    Module,
    /// Something else.
    #[error("it is no Wasm component: {0}")]
    Other(String),
}

impl Component {
    /// Looks whether these bytes are a component.
    ///
    /// # Errors
    /// When they are not, or too many.
    pub fn read(bytes: Bytes) -> Result<Self, NoComponent> {
        if bytes.len() as u64 > MAX_ARTIFACT {
            return Err(NoComponent::TooLarge(bytes.len() as u64));
        }
        if Parser::is_core_wasm(&bytes) {
            return Err(NoComponent::Module);
        }
        if !Parser::is_component(&bytes) {
            return Err(NoComponent::Other("its first bytes are those of something else".to_owned()));
        }
        let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_u32);
        let broken = |error: wasmparser::BinaryReaderError| NoComponent::Other(error.to_string());
        for payload in Parser::new(0).parse_all(&bytes) {
            match payload.map_err(broken)? {
                // What is inside of it imports and exports for itself.
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        imports.push(import.map_err(broken)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        exports.push(export.map_err(broken)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(Self { bytes, imports, exports })
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_says_what_it_imports_and_exports() {
        let text = r#"(component
            (import "wasi:random/random@0.2.0" (instance (export "get" (func))))
            (component (import "inner" (func)))
            (core module $m (import "core" "f" (func)) (func (export "g")))
            (instance $i)
            (export "acme:shop/cart" (instance $i))
        )"#;
        let component = Component::read(wat::parse_str(text).unwrap().into()).unwrap();
        assert_eq!(component.imports, ["wasi:random/random@0.2.0"]);
        assert_eq!(component.exports, ["acme:shop/cart"]);
    }

    #[test]
    fn what_is_none_is_told() {
        let of = |bytes: Vec<u8>| Component::read(bytes.into()).unwrap_err();
        assert_eq!(of(b"\0asm\x01\0\0\0".to_vec()), NoComponent::Module);
        assert!(matches!(of(b"hello".to_vec()), NoComponent::Other(_)));
        assert!(matches!(of(Vec::new()), NoComponent::Other(_)));
        let mut half = wat::parse_str("(component (core module (func (export \"f\"))))").unwrap();
        half.truncate(half.len() - 3);
        assert!(matches!(of(half), NoComponent::Other(_)));
    }
}
