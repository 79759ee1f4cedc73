//! The text format once more, as slowly and plainly as it can be written: strings, copies, one character at a time.

use std::collections::{BTreeMap, HashSet};

use llm_autoscaler_core::Milli;
use llm_autoscaler_engines::Recipe;

/// What a page says.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) values: Vec<Option<Milli>>,
    /// The first malformed line of a wanted family; lines are counted from 1.
    pub(crate) bad_line: Option<usize>,
}

struct Sample {
    labels: BTreeMap<String, String>,
    value: f64,
    series: String,
}

/// Reads `page` for recipes of one term with one name, summed.
pub(crate) fn read(recipes: &[Recipe], page: &str) -> Expected {
    let mut sums: Vec<Option<f64>> = vec![None; recipes.len()];
    let mut seen = HashSet::new();
    let mut bad_line = None;
    for (index, line) in page.lines().enumerate() {
        let line = line.trim();
        let name = name(line);
        let sample = Reader::new(line).sample();
        for (recipe, sum) in recipes.iter().zip(&mut sums) {
            let selector = &recipe.terms()[0][0];
            if name.as_deref() != Some(&*selector.name) {
                continue;
            }
            let Some(sample) = &sample else {
                bad_line.get_or_insert(index + 1);
                *sum = Some(f64::NAN);
                continue;
            };
            let label = |name: &String| sample.labels.get(name).cloned().unwrap_or_default();
            let wanted = selector.labels.iter().all(|(name, value)| label(name) == *value);
            if wanted && !seen.contains(&sample.series) {
                *sum = Some(sum.unwrap_or(0.0) + sample.value);
            }
        }
        seen.extend(sample.map(|sample| sample.series));
    }
    let value = |sum: f64| if sum.is_finite() { Milli::from_f64(sum) } else { None };
    Expected { values: sums.into_iter().map(|sum| sum.and_then(value)).collect(), bad_line }
}

/// The name that a line begins with, whatever comes then.
fn name(line: &str) -> Option<String> {
    if let Some(inside) = line.strip_prefix('{') {
        return Reader::new(inside.trim_start()).quoted();
    }
    let first = line.chars().next()?;
    let starts = first.is_ascii_alphabetic() || first == '_' || first == ':';
    starts.then(|| line.split(['{', ' ', '\t']).next().unwrap_or_default().to_owned())
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
        !self.take_while(|c| c.is_ascii_whitespace()).is_empty()
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

    fn sample(mut self) -> Option<Sample> {
        let bare = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        let mut named = !bare.is_empty();
        let mut labels = BTreeMap::new();
        let blank = self.blanks();
        if self.peek()? == '{' {
            self.at += 1;
            named = self.labels(named, &mut labels)?;
        } else if !blank {
            return None;
        }
        let series = self.line[..self.at].iter().collect::<String>().trim_end().to_owned();
        self.blanks();
        let value = self.take_while(|c| c != ' ' && c != '\t').parse().ok()?;
        self.blanks();
        if !matches!(self.peek(), None | Some('#')) {
            self.take_while(|c| c != ' ' && c != '\t').parse::<f64>().ok()?;
            self.blanks();
        }
        (named && matches!(self.peek(), None | Some('#'))).then_some(Sample { labels, value, series })
    }

    /// The labels, and whether the sample has a name.
    fn labels(&mut self, mut named: bool, labels: &mut BTreeMap<String, String>) -> Option<bool> {
        loop {
            self.blanks();
            if self.take('}').is_some() {
                return Some(named);
            }
            let quoted = self.peek()? == '"';
            let key = if quoted {
                self.quoted()?
            } else {
                self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if !quoted && !key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                return None;
            }
            self.blanks();
            if self.take('=').is_some() {
                self.blanks();
                let value = self.quoted()?;
                labels.entry(key).or_insert(value);
                named.then_some(())?;
            } else {
                (quoted && !named).then_some(())?;
                named = true;
            }
            self.blanks();
            if self.take(',').is_none() && self.peek()? != '}' {
                return None;
            }
        }
    }
}
