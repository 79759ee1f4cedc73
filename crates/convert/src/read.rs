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
        problem: problem(text, &error.to_string()),
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

/// Returns what is wrong with a text, by the parser's message.
fn problem(text: &str, message: &str) -> String {
    // What a program could set is no help for a file.
    let message = message.replace(", set DuplicateKeyPolicy in Options if acceptable", "");
    if text.contains("{{") {
        let hint = "{{ }} marks a template of a Helm chart: give what `helm template` prints";
        return format!("{message}\n{hint}");
    }
    message
}

/// Adds a document, or the items of a list and of the lists in it.
fn flatten(mut value: Value, place: Place, found: &mut Vec<Document>) {
    let list = value["kind"].as_str().and_then(|kind| kind.strip_suffix("List"));
    let (kind, version) = (list.map(str::to_owned), value["apiVersion"].clone());
    let items = value.get_mut("items").and_then(Value::as_array_mut);
    let (Some(kind), Some(items)) = (kind, items) else {
        found.push(Document { place, value });
        return;
    };
    for (index, mut item) in std::mem::take(items).into_iter().enumerate() {
        // The API server names the kind and version of a typed list once for all its items.
        if let Some(item) = item.as_object_mut().filter(|it| !it.contains_key("kind"))
            && !kind.is_empty()
        {
            item.insert("kind".to_owned(), Value::String(kind.clone()));
            item.entry("apiVersion").or_insert_with(|| version.clone());
        }
        flatten(item, Place { item: place.item.or(Some(index + 1)), ..place.clone() }, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_apart() {
        let text = "kind: A\n---\n---\nkind: List\nitems:\n- {kind: B}\n- {kind: C}\n- kind: List\n  \
                    items: [{kind: D}, {}]\n---\napiVersion: v2\nkind: EList\nitems: [{a: 1}, \
                    {kind: F}]\n";
        let found = read("x.yaml", text).unwrap();
        let found: Vec<String> = found
            .iter()
            .map(|it| format!("{} {} {}", it.place, it.value["kind"], it.value["apiVersion"]))
            .collect();
        let expected = [
            "x.yaml, document 1 \"A\" null",
            "x.yaml, document 2, item 1 \"B\" null",
            "x.yaml, document 2, item 2 \"C\" null",
            "x.yaml, document 2, item 3 \"D\" null",
            "x.yaml, document 2, item 3 null null",
            "x.yaml, document 3, item 1 \"E\" \"v2\"",
            "x.yaml, document 3, item 2 \"F\" null",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_text_that_is_no_yaml_is_named_with_what_to_do() {
        for (text, part) in [
            ("a: [", "reading x.yaml: "),
            ("a: {{ .Values.a }}", "give what `helm template` prints"),
            ("a: 1\na: 2", "duplicate mapping key: a\n"),
        ] {
            let error = read("x.yaml", text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("Policy"), "{text}: {error}");
        }
    }
}
