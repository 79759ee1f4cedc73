//! Writes `docs/api-reference.md` from the CRD, and checks that it is up to date:
//! `UPDATE=1 cargo test -p llm-autoscaler-api --test reference`.

#![allow(clippy::unwrap_used)]

use std::{env, fmt::Write, fs};

use kube::CustomResourceExt;
use llm_autoscaler_api::LLMAutoscaler;
use serde_json::{Map, Value};

/// The width of prose.
const COLUMNS: usize = 100;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api-reference.md");

const INTRODUCTION: &str = "\
# API reference

<!-- Generated from the CRD; do not edit. To write it:
`UPDATE=1 cargo test -p llm-autoscaler-api --test reference` -->

This page has every field of the LLMAutoscaler, from the schema that the API server checks. `kubectl
explain llmautoscaler.spec` prints the same descriptions. A section is an object, and its table has
the object's fields. An object that occurs in several places has one section, at the first of them.

- **Quantities** are numbers, or strings as in Kubernetes: `5`, `\"0.8\"`, `800m`.
- **Optional** fields may also be `null`, which means the same as leaving them out.
- **Rules** below a table are checked by the API server, which answers with the quoted text.
- The operator checks a spec once more: what it refuses is in the condition `Stalled`, with the
  reason `InvalidSpec` ([conditions.md](conditions.md)).
";

/// A page, and the objects on it that later ones may refer to.
#[derive(Default)]
struct Page {
    text: String,
    sections: Vec<Section>,
}

struct Section {
    path: String,
    schema: Value,
}

/// An object whose section has not been written yet.
struct Pending<'a> {
    path: String,
    schema: &'a Value,
}

#[test]
fn the_reference_is_up_to_date_with_the_crd() {
    let page = page(&serde_json::to_value(LLMAutoscaler::crd()).unwrap());
    if env::var_os("UPDATE").is_some() {
        fs::write(PATH, &page).unwrap();
    }
    let found = fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        found == page,
        "docs/api-reference.md differs from the CRD: run this test with UPDATE=1 and commit the page"
    );
}

#[test]
fn a_schema_is_described_in_words() {
    let table = [
        (r#"{"type": "string"}"#, "string", ""),
        (r#"{"type": "integer", "minimum": 1.0, "maximum": 9.0}"#, "integer", "1 to 9"),
        (r#"{"type": "integer", "minimum": 0.0}"#, "integer", "at least 0"),
        (r#"{"type": "string", "maxLength": 8}"#, "string", "up to 8 characters"),
        (r#"{"x-kubernetes-int-or-string": true}"#, "integer or string", ""),
        (r#"{"type": "string", "enum": ["A", "B", null]}"#, "string", "`A`, `B`"),
        (
            r#"{"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 4}"#,
            "list of strings",
            "1 to 4 items",
        ),
        (
            r#"{"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 3}"#,
            "map of strings",
            "up to 3 entries",
        ),
        (r#"{"type": "string", "pattern": "^a|b$"}"#, "string", "matches `^a\\|b$`"),
    ];
    for (schema, kind, expected) in table {
        let schema: Value = serde_json::from_str(schema).unwrap();
        assert_eq!((type_of(&schema).as_str(), limits(&schema).as_str()), (kind, expected));
    }
}

fn page(crd: &Value) -> String {
    let version = &crd["spec"]["versions"][0];
    let root = &version["schema"]["openAPIV3Schema"];
    let mut page = Page { text: INTRODUCTION.to_owned(), ..Page::default() };
    let names = &crd["spec"]["names"];
    writeln!(
        page.text,
        "\n| | |\n|---|---|\n| `apiVersion` | `{}/{}` |\n| `kind` | `{}` |\n| short name | `{}` |\n\
         | scope | a namespace |",
        text(&crd["spec"]["group"]),
        text(&version["name"]),
        text(&names["kind"]),
        text(&names["shortNames"][0]),
    )
    .unwrap();
    columns(&mut page, &version["additionalPrinterColumns"]);
    for field in ["spec", "status"] {
        let title = if field == "spec" { "Spec" } else { "Status" };
        writeln!(page.text, "\n## {title}").unwrap();
        page.write_tree(Pending { path: field.to_owned(), schema: &root["properties"][field] });
    }
    page.text
}

fn columns(page: &mut Page, columns: &Value) {
    page.text.push_str("\n## Columns of `kubectl get`\n\n| column | field | |\n|---|---|---|\n");
    for column in columns.as_array().unwrap() {
        let is_wide = column["priority"].as_i64().unwrap_or(0) > 0;
        let (name, path) = (text(&column["name"]), cell(text(&column["jsonPath"])));
        let wide = if is_wide { "with `-o wide`" } else { "" };
        writeln!(page.text, "| {} | `{path}` | {wide} |", name.to_uppercase()).unwrap();
    }
}

impl Page {
    /// Writes the section of an object, then those of the objects in it, in the order of fields.
    fn write_tree(&mut self, root: Pending<'_>) {
        self.reserve(&root.path, root.schema);
        let mut queue = vec![root];
        while let Some(next) = queue.pop() {
            let inner = self.write_section(&next);
            queue.extend(inner.into_iter().rev());
        }
    }

    /// Returns the path of the section that describes an object of this schema: an earlier one, or
    /// a new one for `path`. The second value is true for a new one.
    fn reserve(&mut self, path: &str, schema: &Value) -> (String, bool) {
        let schema = comparable(schema);
        if let Some(known) = self.sections.iter().find(|section| section.schema == schema) {
            return (known.path.clone(), false);
        }
        self.sections.push(Section { path: path.to_owned(), schema });
        (path.to_owned(), true)
    }

    /// Writes the section of one object, and returns the objects in it.
    fn write_section<'a>(&mut self, Pending { path, schema }: &Pending<'a>) -> Vec<Pending<'a>> {
        writeln!(self.text, "\n### `{path}`\n").unwrap();
        paragraph(&mut self.text, "", &sentence(schema));
        self.text.push_str("\n| field | type | default | limits | description |\n");
        self.text.push_str("|---|---|---|---|---|\n");
        let mut inner = Vec::new();
        let required: Vec<&str> = list(&schema["required"]).iter().map(text).collect();
        for (name, field) in fields(schema) {
            let mut kind = type_of(field);
            if let Some((suffix, schema)) = object_in(field) {
                let (path, is_new) = self.reserve(&format!("{path}.{name}{suffix}"), schema);
                kind = format!("[{kind}](#{})", anchor(&path));
                inner.extend(is_new.then_some(Pending { path, schema }));
            }
            let default = default(field, required.contains(&name.as_str()));
            writeln!(
                self.text,
                "| `{name}` | {kind} | {default} | {} | {} |",
                limits(field),
                cell(&sentence(field)),
            )
            .unwrap();
        }
        self.write_rules(schema);
        inner
    }

    /// Writes the messages of the rules of an object and of the fields that have no section.
    fn write_rules(&mut self, schema: &Value) {
        let mut messages = Vec::new();
        rules(schema, "", &mut messages);
        for (name, field) in fields(schema) {
            if object_in(field).is_none() {
                rules(field, name, &mut messages);
            } else if field["type"] == "array" {
                rules(field, name, &mut messages); // those of the list; its items have a section
            }
        }
        if messages.is_empty() {
            return;
        }
        self.text.push_str("\nRules:\n\n");
        for message in messages {
            paragraph(&mut self.text, "- ", &message);
        }
    }
}

fn rules(schema: &Value, field: &str, messages: &mut Vec<String>) {
    let place = if field.is_empty() { String::new() } else { format!("`{field}`: ") };
    for rule in list(&schema["x-kubernetes-validations"]) {
        messages.push(format!("{place}\"{}\"", text(&rule["message"])));
    }
}

/// Returns the fields of an object, or none.
fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// Returns the object with fields in a field, and the ending of its path.
fn object_in(field: &Value) -> Option<(&'static str, &Value)> {
    let has_fields = |schema: &Value| schema["properties"].is_object();
    let (items, values) = (&field["items"], &field["additionalProperties"]);
    [("", field), ("[]", items), ("{}", values)].into_iter().find(|(_, schema)| has_fields(schema))
}

/// Returns a schema without what the place of an object decides: its description and `null`.
fn comparable(schema: &Value) -> Value {
    let keys = ["properties", "required", "x-kubernetes-validations"];
    let kept = keys.iter().map(|key| ((*key).to_owned(), schema[*key].clone()));
    Value::Object(kept.collect::<Map<_, _>>())
}

fn type_of(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        return "integer or string".to_owned();
    }
    let values = &schema["additionalProperties"];
    match text(&schema["type"]) {
        "array" => format!("list of {}s", type_of(&schema["items"])),
        "object" if values.is_object() => format!("map of {}s", type_of(values)),
        other => other.to_owned(),
    }
}

fn default(schema: &Value, is_required: bool) -> String {
    match &schema["default"] {
        Value::Null if is_required => "required".to_owned(),
        Value::Null => String::new(),
        Value::String(value) => format!("`{value}`"),
        other => format!("`{other}`"),
    }
}

fn limits(schema: &Value) -> String {
    let choices = list(&schema["enum"]).iter().filter(|value| value.is_string());
    let mut found = Vec::new();
    let choices: Vec<_> = choices.map(|value| format!("`{}`", text(value))).collect();
    if !choices.is_empty() {
        found.push(choices.join(", "));
    }
    found.extend(range(schema, "minimum", "maximum", ""));
    found.extend(range(schema, "minLength", "maxLength", " characters"));
    found.extend(range(schema, "minItems", "maxItems", " items"));
    found.extend(range(schema, "minProperties", "maxProperties", " entries"));
    if let Some(pattern) = schema["pattern"].as_str().filter(|_| !is_quantity(schema)) {
        found.push(format!("matches `{}`", pattern.replace('|', "\\|")));
    }
    if is_quantity(schema) {
        found.push("a quantity".to_owned());
    }
    found.join("; ")
}

/// Returns whether a field is a quantity. The pattern of quantities is long, and known to readers.
fn is_quantity(schema: &Value) -> bool {
    let pattern = text(&schema["pattern"]);
    schema["x-kubernetes-int-or-string"] == true && pattern.contains("KMGTPE")
}

fn range(schema: &Value, least: &str, most: &str, unit: &str) -> Option<String> {
    let number = |key: &str| schema[key].as_f64().map(|number| format!("{number}"));
    match (number(least), number(most)) {
        (None, None) => None,
        (Some(least), None) => Some(format!("at least {least}{unit}")),
        (None, Some(most)) => Some(format!("up to {most}{unit}")),
        (Some(least), Some(most)) if least == most => Some(format!("{most}{unit}")),
        (Some(least), Some(most)) => Some(format!("{least} to {most}{unit}")),
    }
}

/// Returns the description of a schema in one line.
fn sentence(schema: &Value) -> String {
    text(&schema["description"]).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Escapes a text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

/// Returns the anchor of a heading: letters, digits, hyphens and underscores of it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || "-_".contains(*c);
    heading.to_lowercase().chars().filter(kept).collect()
}

/// Appends a paragraph, or an item of a list, wrapped.
fn paragraph(page: &mut String, mark: &str, text: &str) {
    let mut column = mark.len();
    page.push_str(mark);
    for (index, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if index > 0 && column + 1 + width > COLUMNS {
            page.push('\n');
            page.push_str(&" ".repeat(mark.len()));
            column = mark.len();
        } else if index > 0 {
            page.push(' ');
            column += 1;
        }
        page.push_str(word);
        column += width;
    }
    page.push('\n');
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
