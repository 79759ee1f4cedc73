//! The answer to one case.

use serde_json::{Value, json};

/// A part of a case that is not supported.
pub(super) struct Unsupported(String);

/// An answer as JSON, and in sentences.
pub(super) struct Answer {
    pub(super) json: Value,
    /// The steps in sentences; empty for a case without steps.
    pub(super) steps: Vec<String>,
}

impl Unsupported {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl Answer {
    /// Returns an answer without sentences.
    pub(super) fn of(json: Value) -> Self {
        Self { json, steps: Vec::new() }
    }

    /// Returns the answer to a malformed case.
    pub(super) fn malformed(line: usize, problem: &str) -> Self {
        Self::of(json!({"error": format!("line {line}: {problem}")}))
    }

    /// Returns the answer with the ID of its case.
    #[must_use]
    pub(super) fn with_id(mut self, id: &str) -> Self {
        self.json["id"] = id.into();
        self
    }

    /// Returns the steps in sentences, or the JSON of a case without steps.
    pub(super) fn explanation(&self) -> String {
        let id = self.json["id"].as_str().unwrap_or_default();
        if self.steps.is_empty() {
            return self.json.to_string();
        }
        format!("{id}\n{}", self.steps.join("\n"))
    }
}

impl From<Unsupported> for Answer {
    fn from(Unsupported(what): Unsupported) -> Self {
        Self::of(json!({"error": format!("not supported: {what}")}))
    }
}
