//! A second implementation of the text format, slow and plain: it copies strings and reads one
//! character at a time.
//!
//! The property tests and a fuzz target compare the reader with it.

use std::collections::{BTreeMap, BTreeSet};

use llm_autoscaler_engines::{
    Buckets, Kind, Recipe,
    exposition::{Extract, Value},
};

/// The expected results of a page.
#[derive(Debug)]
pub(crate) struct Expected {
    /// The value of each recipe.
    pub values: Vec<Value>,
    /// The number of the first malformed line of a wanted family; the first line is 1.
    pub bad_line: Option<usize>,
}

type Labels = BTreeMap<String, String>;

/// A line of a wanted family.
struct Line {
    family: String,
    /// The labels that are not empty, and the value; `None` if the line is malformed.
    sample: Option<(Labels, f64)>,
}

/// Reads `page`, which must end with a line feed. The recipes must be sums of one term with one
/// name.
pub(crate) fn read(recipes: &[Recipe], page: &str) -> Expected {
    let wanted: BTreeSet<String> = recipes.iter().flat_map(Recipe::families).collect();
    let mut lines = Vec::new();
    let mut seen = BTreeSet::new();
    let mut bad_line = None;
    for (index, text) in page.split('\n').enumerate() {
        let text = text.strip_suffix('\r').unwrap_or(text).trim_matches([' ', '\t']);
        let Some(family) = family(text, &wanted) else { continue };
        let sample = Reader::new(text).sample();
        if sample.is_none() {
            bad_line.get_or_insert(index + 1);
        }
        // The first of equal series counts.
        if sample.as_ref().is_none_or(|(labels, _)| seen.insert((family.clone(), labels.clone()))) {
            lines.push(Line { family, sample });
        }
    }
    Expected { values: recipes.iter().map(|recipe| value(recipe, &lines)).collect(), bad_line }
}

/// Returns true if the results are equal, apart from the order in which floats were added.
pub(crate) fn is_same(found: &[Extract], expected: &[Value]) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| match (&found.value, expected) {
            (Value::Number(a), Value::Number(b)) => near(*a, *b),
            (Value::Buckets(a), Value::Buckets(b)) => {
                a.bounds() == b.bounds()
                    && a.counts().iter().zip(b.counts()).all(|(a, b)| near(*a, *b))
            }
            (a, b) => a == b,
        })
}

fn value(recipe: &Recipe, lines: &[Line]) -> Value {
    let selector = &recipe.terms()[0][0];
    let family = recipe.kind().family(&selector.name);
    let is_histogram = recipe.kind() == Kind::Histogram;
    let mut parts: BTreeMap<Part, (f64, f64)> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.family == family) {
        let Some((labels, value)) = &line.sample else { return Value::Absent };
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        if !selector.labels.iter().all(|(name, value)| label(name) == *value) {
            continue;
        }
        let bound = if is_histogram { number(&label("le")) } else { Some(0.0) };
        let Some(bound) = bound.filter(|bound| !bound.is_nan()) else {
            return Value::Absent;
        };
        let part = Part::of(recipe, labels, bound, index);
        let (_, highest) = parts.entry(part).or_insert((bound, *value));
        let is_higher = value.is_finite() && *value > *highest;
        if is_higher || !highest.is_finite() {
            *highest = *value;
        }
    }
    if parts.values().any(|(_, value)| !value.is_finite()) {
        return Value::Absent;
    }
    if is_histogram {
        return Buckets::new(parts.into_values()).map_or(Value::Absent, Value::Buckets);
    }
    let total: f64 = parts.values().map(|(_, value)| value).sum();
    if parts.is_empty() || !total.is_finite() { Value::Absent } else { Value::Number(total) }
}

/// A part of a sum. Series that differ only in repeat labels are one part, and the highest
/// finite value counts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    bound: String,
    labels: Labels,
    line: Option<usize>,
}

impl Part {
    fn of(recipe: &Recipe, labels: &Labels, bound: f64, line: usize) -> Self {
        if recipe.repeat_labels().is_empty() {
            return Self { bound: String::new(), labels: Labels::new(), line: Some(line) };
        }
        let mut labels = labels.clone();
        labels.retain(|name, _| name != "le" && !recipe.repeat_labels().contains(name));
        Self { bound: (bound + 0.0).to_string(), labels, line: None }
    }
}

/// Returns the family of a line, if it is a wanted one.
fn family(line: &str, wanted: &BTreeSet<String>) -> Option<String> {
    let first = line.chars().next()?;
    if first == '{' {
        return Reader::new(&line[1..]).name_within().filter(|name| wanted.contains(name));
    }
    if !(first.is_ascii_alphabetic() || first == '_' || first == ':') {
        return None;
    }
    let name = line.split(['{', ' ', '\t']).next()?;
    let behind = line[name.len()..].trim_start_matches([' ', '\t']);
    let bare = name.split(|c| !in_name(c)).next()?;
    // `a-1` is a malformed line of `a`.
    let candidates = if behind.starts_with('{') { vec![name] } else { vec![name, bare] };
    candidates.into_iter().find(|name| wanted.contains(*name)).map(str::to_owned)
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Parses a number as Prometheus does: a NaN with a sign and a number that overflows are rejected.
fn number(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let infinite = number.is_infinite() && !text.to_ascii_lowercase().contains("inf");
    let signed = number.is_nan() && text.starts_with(['+', '-']);
    (!infinite && !signed).then_some(number)
}

struct Reader {
    line: Vec<char>,
    at: usize,
}

impl Reader {
    fn new(line: &str) -> Self {
        Self { line: line.chars().collect(), at: 0 }
    }

    fn peek(&self) -> Option<char> {
        self.line.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let text: String = self.line[self.at..].iter().take_while(|c| wanted(**c)).collect();
        self.at += text.chars().count();
        text
    }

    fn blanks(&mut self) -> bool {
        !self.take_while(|c| c == ' ' || c == '\t').is_empty()
    }

    fn word(&mut self) -> String {
        self.take_while(|c| c != ' ' && c != '\t')
    }

    fn quoted(&mut self) -> Option<String> {
        self.take('"')?;
        let mut text = String::new();
        loop {
            let c = self.peek()?;
            self.at += 1;
            match c {
                '"' => return Some(text),
                '\\' => {
                    let next = self.peek()?;
                    self.at += 1;
                    match next {
                        'n' => text.push('\n'),
                        '"' | '\\' => text.push(next),
                        other => text.extend(['\\', other]),
                    }
                }
                c => text.push(c),
            }
        }
    }

    /// Reads the name of a label; the flag is true if it is quoted.
    fn label(&mut self) -> Option<(String, bool)> {
        if self.peek()? == '"' {
            return Some((self.quoted()?, true));
        }
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        starts.then_some((name, false))
    }

    /// Returns the quoted text that is not a label, whatever separates the labels before it.
    fn name_within(mut self) -> Option<String> {
        loop {
            self.take_while(|c| c == ' ' || c == '\t' || c == ',');
            let (name, is_quoted) = self.label()?;
            self.blanks();
            if self.take('=').is_none() {
                return is_quoted.then_some(name);
            }
            self.blanks();
            self.quoted()?;
        }
    }

    fn sample(mut self) -> Option<(Labels, f64)> {
        let bare = self.take_while(in_name);
        let mut labels = Labels::new();
        let blank = self.blanks();
        if self.peek()? == '{' {
            self.at += 1;
            labels = self.labels(!bare.is_empty())?;
        } else if bare.is_empty() || !blank {
            return None;
        }
        self.blanks();
        let value = number(&self.word())?;
        self.blanks();
        if !matches!(self.peek(), None | Some('#')) {
            number(&self.word()).filter(|time| time.is_finite())?;
            self.blanks();
        }
        matches!(self.peek(), None | Some('#')).then_some((labels, value))
    }

    /// Reads the labels. There must be exactly one name, before the braces or among the labels.
    fn labels(&mut self, mut named: bool) -> Option<Labels> {
        let mut labels = Labels::new();
        loop {
            self.blanks();
            if self.take('}').is_some() {
                labels.retain(|_, value| !value.is_empty());
                return named.then_some(labels);
            }
            let (name, is_quoted) = self.label()?;
            (!name.contains('\0')).then_some(())?;
            self.blanks();
            if self.take('=').is_some() {
                self.blanks();
                let value = self.quoted()?;
                let is_new = !labels.contains_key(&name);
                (is_new && !name.is_empty() && name != "__name__").then_some(())?;
                labels.insert(name, value);
            } else {
                (is_quoted && !named).then_some(())?;
                named = true;
            }
            self.blanks();
            if self.take(',').is_none() && self.peek()? != '}' {
                return None;
            }
        }
    }
}
