//! Comments on a conversion: what became of the input, beyond what the result shows.

use std::fmt;

/// The meaning of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommentKind {
    /// The field has no meaning for the result, or is only read in a certain way.
    Note,
    /// The result does something else than the input here.
    Changed,
    /// The result does this in a way that the input cannot.
    Better,
    /// The result lacks this, because an LLMAutoscaler has nothing like it.
    NotExpressed,
    /// The field is unknown, or has a value that is none of its own.
    NotUnderstood,
}

/// A comment on a field of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// Its meaning.
    pub kind: CommentKind,
    /// The path of the field in the document, such as `spec.metrics[0]`; empty if it is about the
    /// whole of it.
    pub field: String,
    /// One sentence or several.
    pub text: String,
}

/// The comments on one document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comments(pub Vec<Comment>);

impl CommentKind {
    /// Returns whether something of the input is missing in the result.
    pub fn is_loss(self) -> bool {
        matches!(self, Self::NotExpressed | Self::NotUnderstood)
    }
}

impl fmt::Display for CommentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "Note",
            Self::Changed => "Changed",
            Self::Better => "Better now",
            Self::NotExpressed => "Not expressed",
            Self::NotUnderstood => "Not understood",
        })
    }
}

impl fmt::Display for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, field, text } = self;
        let field = if field.is_empty() { String::new() } else { format!(", {field}") };
        // A value of the input may have line feeds; a comment of YAML ends at one.
        let text: Vec<&str> = text.split_whitespace().collect();
        write!(f, "{kind}{field}: {}", text.join(" "))
    }
}

impl Comments {
    fn add(&mut self, kind: CommentKind, field: &str, text: impl Into<String>) {
        let comment = Comment { kind, field: field.to_owned(), text: text.into() };
        if !self.0.contains(&comment) {
            self.0.push(comment);
        }
    }

    pub(crate) fn note(&mut self, field: &str, text: impl Into<String>) {
        self.add(CommentKind::Note, field, text);
    }

    pub(crate) fn changed(&mut self, field: &str, text: impl Into<String>) {
        self.add(CommentKind::Changed, field, text);
    }

    pub(crate) fn better(&mut self, field: &str, text: impl Into<String>) {
        self.add(CommentKind::Better, field, text);
    }

    pub(crate) fn lost(&mut self, field: &str, text: impl Into<String>) {
        self.add(CommentKind::NotExpressed, field, text);
    }

    pub(crate) fn not_understood(&mut self, field: &str, text: impl Into<String>) {
        self.add(CommentKind::NotUnderstood, field, text);
    }
}
