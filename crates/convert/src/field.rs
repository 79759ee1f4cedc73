//! Values of the input that remember whether they have been read, so that none is dropped silently.

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::Value;

/// The paths of a document's values that a converter has read.
#[derive(Debug, Default)]
pub(crate) struct Seen(RefCell<BTreeSet<String>>);

/// A value of a document, or the place where it would be.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    value: Option<&'a Value>,
    path: String,
    seen: &'a Seen,
}

impl Seen {
    fn add(&self, path: &str) {
        self.0.borrow_mut().insert(path.to_owned());
    }

    /// Takes paths as not read.
    pub(crate) fn forget(&self, paths: &[String]) {
        let mut seen = self.0.borrow_mut();
        for path in paths {
            seen.remove(path);
        }
    }

    /// Returns the paths of the values below `value` that have not been read.
    pub(crate) fn unread(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        leaves(value, "", &mut |path| {
            if !self.0.borrow().contains(path) {
                found.push(path.to_owned());
            }
        });
        found
    }
}

/// Calls `found` with the path of each scalar, and of each list and map without entries.
fn leaves(value: &Value, path: &str, found: &mut impl FnMut(&str)) {
    visit(value, path, &mut |path, _| found(path));
}

/// Calls `found` with the path and the value of each scalar, and of each list and map without
/// entries.
fn visit(value: &Value, path: &str, found: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                visit(value, &below(path, key), found);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                visit(value, &format!("{path}[{index}]"), found);
            }
        }
        _ => found(path, value),
    }
}

/// Returns the path of a key of a map.
fn below(path: &str, key: &str) -> String {
    let is_plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match (path, is_plain && !key.is_empty()) {
        ("", true) => key.to_owned(),
        (path, true) => format!("{path}.{key}"),
        (path, false) => format!("{path}[{key:?}]"),
    }
}

impl<'a> Field<'a> {
    /// Returns the root of a document.
    pub(crate) fn root(value: &'a Value, seen: &'a Seen) -> Self {
        Self { value: Some(value), path: String::new(), seen }
    }

    /// Returns the path from the root, such as `spec.metrics[0].type`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns whether the document has a value here. `null` is none.
    pub(crate) fn exists(&self) -> bool {
        self.value.is_some_and(|value| !value.is_null())
    }

    /// Returns the value of a key. A map without entries counts as read.
    pub(crate) fn get(&self, key: &str) -> Self {
        self.read_if(|value| matches!(value, Value::Object(map) if map.is_empty()));
        let value = self.value.and_then(|value| value.as_object()?.get(key));
        let found = Self { value, path: below(&self.path, key), seen: self.seen };
        found.read_if(Value::is_null);
        found
    }

    /// Returns a value for a comment on it, without reading it: a scalar, shortened.
    pub(crate) fn scalar_at(value: &Value, path: &str) -> Option<String> {
        let mut found = None;
        visit(value, "", &mut |at, value| {
            if at == path && !value.is_object() && !value.is_array() {
                found = Some(value.to_string().chars().take(80).collect());
            }
        });
        found
    }

    /// Returns the value at the end of several keys.
    pub(crate) fn at(&self, keys: &[&str]) -> Self {
        keys.iter().fold(self.clone(), |field, key| field.get(key))
    }

    /// Returns the entries of a list; none if this is no list.
    pub(crate) fn items(&self) -> Vec<Self> {
        self.read_if(|value| matches!(value, Value::Array(list) if list.is_empty()));
        let list = self.value.and_then(Value::as_array).into_iter().flatten().enumerate();
        let item = |(index, value)| {
            let path = format!("{}[{index}]", self.path);
            Self { value: Some(value), path, seen: self.seen }
        };
        list.map(item).collect()
    }

    /// Returns the entries of a map; none if this is no map.
    pub(crate) fn entries(&self) -> Vec<(String, Self)> {
        self.read_if(|value| matches!(value, Value::Object(map) if map.is_empty()));
        let map = self.value.and_then(Value::as_object).into_iter().flatten();
        map.map(|(key, _)| (key.clone(), self.get(key))).collect()
    }

    /// Reads a text, a number or a flag as text.
    pub(crate) fn text(&self) -> Option<String> {
        let text = match self.value? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => return None,
        };
        self.seen.add(&self.path);
        Some(text)
    }

    /// Reads a whole number, which may be written as text.
    pub(crate) fn integer(&self) -> Option<i64> {
        let number = match self.value? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.inspect(|_| self.seen.add(&self.path))
    }

    /// Reads a whole number within a range. Any other value counts as not read.
    pub(crate) fn within(&self, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let number = match self.value? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).inspect(|_| self.seen.add(&self.path))
    }

    /// Reads a text that is one of these. Any other value counts as not read.
    pub(crate) fn one_of(&self, texts: &[&'static str]) -> Option<&'static str> {
        let text = self.peek()?;
        let found = texts.iter().find(|known| **known == text)?;
        self.seen.add(&self.path);
        Some(found)
    }

    /// Reads a flag, which may be written as text.
    pub(crate) fn flag(&self) -> Option<bool> {
        let flag = match self.value? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => match text.as_str() {
                "true" | "True" | "TRUE" | "t" | "T" | "1" => Some(true),
                "false" | "False" | "FALSE" | "f" | "F" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        };
        flag.inspect(|_| self.seen.add(&self.path))
    }

    /// Reads everything here, for a comment that quotes it: as JSON in one line.
    pub(crate) fn quote(&self) -> String {
        self.dismiss();
        match self.value {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// Returns everything here as JSON in one line, without reading it.
    pub(crate) fn shown(&self) -> String {
        self.value.map(Value::to_string).unwrap_or_default()
    }

    /// Marks everything here as read: a comment names it, or the API server wrote it.
    pub(crate) fn dismiss(&self) {
        if let Some(value) = self.value {
            leaves(value, &self.path, &mut |path| self.seen.add(path));
        }
    }

    /// Reads a text without marking it as read, to find out which object a document is.
    pub(crate) fn peek(&self) -> Option<&'a str> {
        self.value.and_then(Value::as_str)
    }

    fn read_if(&self, is_so: impl Fn(&Value) -> bool) {
        if self.value.is_some_and(is_so) {
            self.seen.add(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_read_once_it_was_understood() {
        let value = json!({
            "a": {"b": 1, "c.d": "x", "e": [true, {"f": null}], "g": {}},
            "h": "two", "i": 99,
        });
        let seen = Seen::default();
        let root = Field::root(&value, &seen);
        let all = ["a.b", "a[\"c.d\"]", "a.e[0]", "a.e[1].f", "a.g", "h", "i"];
        assert_eq!(seen.unread(&value), all);
        let a = root.get("a");
        assert_eq!((a.get("b").integer(), a.get("c.d").text()), (Some(1), Some("x".to_owned())));
        assert_eq!(a.get("e").items()[0].flag(), Some(true));
        assert!(!a.get("e").items()[1].get("f").exists());
        assert!(a.get("g").get("more").text().is_none());
        // Neither a word nor a number out of range is understood.
        assert_eq!((root.get("h").integer(), root.get("i").within(0..=9)), (None, None));
        assert_eq!(seen.unread(&value), ["h", "i"]);
        assert_eq!(root.get("h").quote(), "two");
        assert_eq!(seen.unread(&value), ["i"]);
    }
}
