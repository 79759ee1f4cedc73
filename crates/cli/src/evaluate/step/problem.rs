//! A case that cannot be evaluated, because of one field.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A field that is wrong, and why.
#[derive(Debug)]
pub(super) struct Problem {
    /// The path of the field, such as `steps[0].roles[1].scale`.
    pub(super) field: String,
    pub(super) text: String,
}

impl Problem {
    pub(super) fn new(field: impl Into<String>, text: impl Into<String>) -> Self {
        Self { field: field.into(), text: text.into() }
    }

    /// Returns the problem with its field below another one.
    #[must_use]
    pub(super) fn below(self, parent: &str) -> Self {
        let separator = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        Self { field: format!("{parent}{separator}{}", self.field), ..self }
    }
}

/// Returns the line of `text`, counted from 0, on which the value of a field begins. If the field
/// is absent, it is the line of the innermost object around it that is present.
pub(super) fn line_of(text: &[u8], field: &str) -> usize {
    let Ok(text) = std::str::from_utf8(text) else { return 0 };
    let (mut value, mut rest) = (text, field);
    while let Some((inner, path)) = enter(value, rest) {
        (value, rest) = (inner, path.trim_start_matches('.'));
    }
    let start = value.as_ptr() as usize - text.as_ptr() as usize;
    text[..start].bytes().filter(|byte| *byte == b'\n').count()
}

/// Returns the value inside of `value` to which the path leads, and the rest of the path.
fn enter<'t, 'p>(value: &'t str, path: &'p str) -> Option<(&'t str, &'p str)> {
    if let Some(index) = path.strip_prefix('[') {
        let (index, rest) = index.split_once(']')?;
        let items: Vec<&RawValue> = serde_json::from_str(value).ok()?;
        return Some((items.get(index.parse::<usize>().ok()?)?.get(), rest));
    }
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(value).ok()?;
    // A key may have dots of its own, so the longest one that fits is meant.
    let is_end = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    let fits = fields.into_iter().filter_map(|(key, inner)| {
        path.strip_prefix(key)
            .filter(|rest| !key.is_empty() && is_end(rest))
            .map(|rest| (inner.get(), rest))
    });
    fits.min_by_key(|(_, rest)| rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_on_its_line() {
        let text = b"{\n \"a\": [\n  {\"b.c\": 1},\n  {\n   \"b\": {\"c\": 2,\n    \"d\": 3}}]}";
        let table = [
            ("a", 1),
            ("a[0].b.c", 2),
            ("a[1].b", 4),
            ("a[1].b.d", 5),
            ("a[1].b.absent", 4),
            ("a[7]", 1),
            ("", 0),
        ];
        for (field, line) in table {
            assert_eq!(line_of(text, field), line, "{field}");
        }
    }
}
