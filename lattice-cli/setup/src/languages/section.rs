//! What an artifact says of its actor: the custom section that the Rust SDK leaves to the linker, and that is added here to
//! components of other toolchains.

use serde_json::Value;

/// The section's name, as `lattice_proto::metadata::SECTION` has it, on which this crate does not depend.
const NAME: &str = "lattice:actor";

/// The component with what the SDK says of its operations: a line of JSON, the last one of what a tool has printed.
///
/// # Errors
/// When there is no such line, or it names no operation; in the words of [`crate::Error::Compile`].
pub fn add(mut component: Vec<u8>, printed: &str) -> Result<Vec<u8>, String> {
    let line = printed.trim_end().lines().next_back().unwrap_or_default();
    let mut metadata: Value = serde_json::from_str(line)
        .map_err(|error| format!("its description of itself cannot be read: {error}: `{line}`"))?;
    if metadata["operations"].as_array().is_none_or(Vec::is_empty) {
        return Err("it has no operations".to_owned());
    }
    metadata["sdk"] = env!("CARGO_PKG_VERSION").into();
    let line = metadata.to_string();
    // Kind 0 is a custom section; then its size, the size of its name, and the name.
    let content = [&[NAME.len() as u8], NAME.as_bytes(), line.as_bytes()].concat();
    component.push(0);
    component.extend(size(content.len()));
    component.extend(content);
    Ok(component)
}

/// A number as Wasm writes it: seven bits in each byte, the lowest first.
fn size(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_wasm_has_them() {
        let table: [(usize, &[u8]); 4] =
            [(0, &[0]), (127, &[127]), (128, &[0x80, 1]), (624_485, &[0xe5, 0x8e, 0x26])];
        for (number, bytes) in table {
            assert_eq!(size(number), bytes);
        }
    }

    #[test]
    fn the_last_line_that_was_printed_becomes_the_section() {
        let printed = "something of the author's own\n{\"operations\":[{\"name\":\"hello\"}]}\n";
        let component = add(b"component".to_vec(), printed).unwrap();
        let section = component.strip_prefix(b"component\0").unwrap();
        assert_eq!(usize::from(section[0]), section.len() - 1);
        assert_eq!(&section[2..15], NAME.as_bytes());
        let line: Value = serde_json::from_slice(&section[15..]).unwrap();
        assert_eq!(line["operations"][0]["name"], "hello");
        assert_eq!(line["sdk"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn an_actor_without_operations_is_refused() {
        for printed in ["", "hello", "{}", "{\"operations\":[]}"] {
            assert!(add(Vec::new(), printed).is_err(), "{printed}");
        }
    }
}
