//! What follows from samples, written down once more and plainly: which count, and what they add up to.

use std::collections::{BTreeMap, BTreeSet};

use llm_autoscaler_engines::{Kind, Recipe, exposition};

/// Any text of a page: it need not be UTF-8.
pub type Bytes = Vec<u8>;

/// A name, and labels that are not empty.
type Series = (Bytes, Vec<(Bytes, Bytes)>);

/// What a parser of Prometheus has read.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: Bytes,
    /// Sorted.
    pub labels: Vec<(Bytes, Bytes)>,
    pub value: f64,
    /// It has a timestamp.
    pub is_timed: bool,
}

/// A parser's answer about a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its words, if it has refused the page.
    pub error: Option<String>,
    pub samples: Vec<Sample>,
}

/// What a recipe comes to.
#[derive(Clone, Debug)]
pub enum Quantity {
    Absent,
    Number(f64),
    /// Upper bounds and how many events were at most as large.
    Buckets(Vec<(f64, f64)>),
}

impl Verdict {
    /// The samples, if Prometheus takes the page: its parser, and then its scrape loop and its storage, which refuse
    /// names that are empty or not UTF-8, and labels that are given twice.
    pub fn accepted(&self) -> Option<&[Sample]> {
        let sound = self.error.is_none() && self.samples.iter().all(Sample::is_sound);
        sound.then_some(&*self.samples)
    }
}

impl Sample {
    fn is_sound(&self) -> bool {
        let is_name = |name: &[u8]| !name.is_empty() && std::str::from_utf8(name).is_ok();
        let mut names: BTreeSet<&[u8]> = [&b"__name__"[..]].into();
        is_name(&self.name)
            && self.labels.iter().all(|(name, _)| is_name(name) && names.insert(name))
    }

    /// The value of a label; an empty one if it is not there.
    pub fn label(&self, wanted: &[u8]) -> &[u8] {
        self.labels.iter().find(|(name, _)| name == wanted).map_or(b"", |(_, value)| value)
    }

    /// What makes it the same series as another: an empty label is none.
    pub fn series(&self) -> Series {
        let labels = self.labels.iter().filter(|(_, value)| !value.is_empty());
        (self.name.clone(), labels.cloned().collect())
    }
}

/// The name that the lines of a recipe of one series begin with.
pub fn family(recipe: &Recipe) -> Bytes {
    recipe.families().next().expect("a recipe has a family").into_bytes()
}

/// What a recipe of one series comes to, given all samples of a page. Nothing can be said of `spoiled` families.
pub fn quantity<'s>(
    recipe: &Recipe,
    samples: impl IntoIterator<Item = &'s Sample>,
    spoiled: &BTreeSet<Bytes>,
) -> Quantity {
    let family = family(recipe);
    if spoiled.contains(&family) {
        return Quantity::Absent;
    }
    let wanted = &recipe.terms()[0][0].labels;
    let mut seen = BTreeSet::new();
    let mut selected = Vec::new();
    for sample in samples.into_iter().filter(|sample| sample.name == family) {
        let matches =
            wanted.iter().all(|(name, value)| sample.label(name.as_bytes()) == value.as_bytes());
        // Of equal series the first counts.
        if seen.insert(sample.series()) && matches {
            selected.push(sample);
        }
    }
    if selected.is_empty() || selected.iter().any(|sample| !sample.value.is_finite()) {
        return Quantity::Absent;
    }
    match recipe.kind() {
        Kind::Histogram => buckets(&selected).unwrap_or(Quantity::Absent),
        Kind::Gauge | Kind::Counter => {
            let sum: f64 = selected.iter().map(|sample| sample.value).sum();
            if sum.is_finite() { Quantity::Number(sum) } else { Quantity::Absent }
        }
    }
}

/// The events by size; `None` if they are no complete histogram.
fn buckets(selected: &[&Sample]) -> Option<Quantity> {
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for sample in selected {
        let bound = number(sample.label(b"le")).filter(|bound| !bound.is_nan())?;
        let bound = bound + 0.0; // there is one zero
        match buckets.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
            Some((_, count)) => *count += sample.value,
            None => buckets.push((bound, sample.value)),
        }
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let counts_events = selected.iter().all(|sample| sample.value >= 0.0);
    let ends = [buckets.first()?.0, buckets.last()?.0];
    let complete = buckets.len() > 1
        && ends[0] > f64::NEG_INFINITY
        && ends[1] == f64::INFINITY
        && counts_events;
    // A larger bucket holds the smaller ones.
    let mut highest = 0.0;
    for (_, count) in &mut buckets {
        highest = f64::max(highest, *count);
        *count = highest;
    }
    (complete && highest.is_finite()).then_some(Quantity::Buckets(buckets))
}

/// A number as Prometheus's parsers read it: a NaN has no sign, and a number that is too large is none.
pub fn number(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let number: f64 = text.parse().ok()?;
    let too_large = number.is_infinite() && text.contains(|c: char| c.is_ascii_digit());
    let signed = number.is_nan() && text.starts_with(['+', '-']);
    (!too_large && !signed).then_some(number)
}

/// A number as Go reads the text of a bound: with underscores and in hexadecimal, too.
fn bound(text: &[u8]) -> Option<f64> {
    let plain: Bytes = text.iter().copied().filter(|byte| *byte != b'_').collect();
    let hexadecimal = || {
        let text = std::str::from_utf8(&plain).ok()?.to_ascii_lowercase();
        let (digits, power) = text.strip_prefix("0x")?.split_once('p')?;
        Some(f64::from(u32::from_str_radix(digits, 16).ok()?) * 2f64.powi(power.parse().ok()?))
    };
    number(&plain).or_else(hexadecimal)
}

impl Quantity {
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether both are the same, but for the order in which floats were added.
    pub fn is_near(&self, other: &Self) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
        match (self, other) {
            (Self::Absent, Self::Absent) => true,
            (Self::Number(a), Self::Number(b)) => near(*a, *b),
            (Self::Buckets(a), Self::Buckets(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|(a, b)| a.0.total_cmp(&b.0).is_eq() && near(a.1, b.1))
            }
            _ => false,
        }
    }
}

impl From<&exposition::Value> for Quantity {
    fn from(value: &exposition::Value) -> Self {
        match value {
            exposition::Value::Absent => Self::Absent,
            exposition::Value::Number(number) => Self::Number(*number),
            exposition::Value::Buckets(buckets) => {
                let pairs = buckets.bounds().iter().zip(buckets.counts());
                Self::Buckets(pairs.map(|(bound, count)| (*bound, *count)).collect())
            }
        }
    }
}

/// Samples of a family that differ in nothing but the spelling of a bound or of a quantile. Below a `# TYPE`
/// Prometheus's parsers make one spelling of them.
pub fn has_bounds_of_two_spellings(samples: &[Sample], family: &[u8]) -> bool {
    let mut spellings: BTreeMap<Series, BTreeSet<Bytes>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.name == family) {
        let (name, mut labels) = sample.series();
        let mut spelling = Bytes::new();
        for (name, value) in &mut labels {
            if (*name == b"le" || *name == b"quantile")
                && let Some(number) = bound(value)
            {
                spelling.extend_from_slice(value);
                spelling.push(b' ');
                *value = (number + 0.0).to_string().into_bytes();
            }
        }
        spellings.entry((name, labels)).or_default().insert(spelling);
    }
    spellings.values().any(|spellings| spellings.len() > 1)
}
