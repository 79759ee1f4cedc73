//! Texts of pages and answers that are shown to people.

/// Returns the beginning of a text, up to this many characters, and a sign if there is more.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_ends_with_a_sign() {
        for (text, expected) in [("", ""), ("äbc", "äbc"), ("äbcd", "äbc…")] {
            assert_eq!(shortened(text, 3), expected);
        }
    }
}
