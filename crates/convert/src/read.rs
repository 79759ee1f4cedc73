//! Documents: YAML or JSON, with lists taken apart.

use std::fmt;

use serde_json::Value;

/// The place of a document in the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, or a name such as `standard input`.
    pub file: String,
    /// The number of the document, from 1; empty ones do not count.
    pub document: usize,
    /// The number of the item of a List, from 1.
    pub item: Option<usize>,
}

/// A document of the input.
#[derive(Clone, Debug)]
pub struct Document {
    /// Where it is from.
    pub place: Place,
    /// Its content.
    pub value: Value,
}

/// A text that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is neither YAML nor JSON.
    #[error("reading {file}: {problem}")]
    Malformed {
        /// The file.
        file: String,
        /// The parser's message.
        problem: String,
    },
    /// The configuration in a ConfigMap cannot be read.
    #[error("reading config.yaml of {place}: {problem}")]
    Config {
        /// The ConfigMap's document.
        place: Place,
        /// The parser's message.
        problem: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, document, item } = self;
        write!(f, "{file}, document {document}")?;
        item.iter().try_for_each(|item| write!(f, ", item {item}"))
    }
}

/// Reads the documents of a file. Lists, as `kubectl get -o yaml` prints them, become their items.
///
/// # Errors
/// The text is neither YAML nor JSON.
pub fn read(file: &str, text: &str) -> Result<Vec<Document>, ReadError> {
    let parsed: Result<Vec<Value>, _> = serde_saphyr::from_multiple(text);
    let values = parsed.map_err(|error| ReadError::Malformed {
        file: file.to_owned(),
        problem: error.to_string(),
    })?;
    let mut found = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        let place = Place { file: file.to_owned(), document: index + 1, item: None };
        if !value.is_null() {
            flatten(value, place, &mut found);
        }
    }
    Ok(found)
}

/// Adds a document, or the items of a list.
fn flatten(mut value: Value, place: Place, found: &mut Vec<Document>) {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    let Some(items) = value.get_mut("items").and_then(Value::as_array_mut).filter(|_| is_list)
    else {
        found.push(Document { place, value });
        return;
    };
    for (index, item) in std::mem::take(items).into_iter().enumerate() {
        let place = Place { item: Some(index + 1), ..place.clone() };
        found.push(Document { place, value: item });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_apart() {
        let text = "kind: A\n---\n---\nkind: List\nitems:\n- {kind: B}\n- {kind: C}\n";
        let found = read("x.yaml", text).unwrap();
        let found: Vec<String> =
            found.iter().map(|it| format!("{} {}", it.place, it.value["kind"])).collect();
        let expected = [
            "x.yaml, document 1 \"A\"",
            "x.yaml, document 2, item 1 \"B\"",
            "x.yaml, document 2, item 2 \"C\"",
        ];
        assert_eq!(found, expected);
        let error = read("x.yaml", "a: [").unwrap_err().to_string();
        assert!(error.starts_with("reading x.yaml: "), "{error}");
    }
}
