//! The PromQL that adapter rules and triggers are usually written in. Only shapes that one metric
//! of an LLMAutoscaler can have are recognized; everything else stays a query.

mod lexer;
mod parser;

pub(crate) use lexer::seconds;
pub(crate) use parser::shape;

/// An expression of a shape that is recognized: an aggregation of series, or of their rate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    /// The aggregation around everything; `None` if there is none.
    pub aggregation: Option<Aggregation>,
    /// The labels of `by`.
    pub by: Vec<String>,
    /// The series; several are summands.
    pub terms: Vec<Selected>,
    /// The function over a range, and the range in seconds.
    pub over: Option<(Over, u32)>,
    /// The quantile of `histogram_quantile`.
    pub quantile: Option<f64>,
    /// True if `or vector(0)` follows: no result is zero.
    pub or_zero: bool,
}

/// An aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregation {
    Sum,
    Avg,
    Max,
    Min,
}

/// A function over a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// `rate`.
    Rate,
    /// `avg_over_time`.
    Mean,
}

/// A series by its name and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    pub name: String,
    pub matchers: Vec<Matcher>,
}

/// A requirement for a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub label: String,
    pub op: String,
    pub value: String,
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}{}", self.label, self.op, quoted(&self.value))
    }
}

/// Returns a text as a string of PromQL.
pub(crate) fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{text}\"")
}

/// Returns the name of an object as a regular expression that matches nothing else.
pub(crate) fn literal(name: &str) -> String {
    name.replace('.', "\\.")
}
