//! Sizes for people; never for machines.

/// `86.3 KB`, `1.2 MB`: the way the documents give artifact sizes.
#[must_use]
pub fn human_size(bytes: u64) -> String {
    // Precision does not matter for a figure that is rounded to one place.
    #[allow(clippy::cast_precision_loss)]
    let bytes_f = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..999_950 => format!("{:.1} KB", bytes_f / 1e3),
        _ => format!("{:.1} MB", bytes_f / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::human_size;

    #[test]
    fn sizes_are_rounded_to_one_place() {
        let table =
            [(0, "0 B"), (999, "999 B"), (1_000, "1.0 KB"), (86_342, "86.3 KB"), (999_949, "999.9 KB")];
        for (bytes, text) in table {
            assert_eq!(human_size(bytes), text);
        }
        assert_eq!(human_size(999_950), "1.0 MB");
        assert_eq!(human_size(18_848_283), "18.8 MB");
    }
}
