//! The meaning of samples, computed a second time and plainly: which of them count, and what they
//! add up to.

use std::collections::{BTreeMap, BTreeSet};

use llm_autoscaler_engines::{Kind, Recipe, exposition};

/// Any text of a page, which need not be UTF-8.
pub(crate) type Bytes = Vec<u8>;

/// The identity of a series: its name, and its labels that are not empty.
type Series = (Bytes, Vec<(Bytes, Bytes)>);

/// A sample that one of Prometheus's parsers has read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub name: Bytes,
    /// The labels, sorted.
    pub labels: Vec<(Bytes, Bytes)>,
    pub value: f64,
    /// True if it has a timestamp.
    pub is_timed: bool,
}

/// A parser's answer about a page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The parser's error, if it has rejected the page.
    pub error: Option<String>,
    /// The samples up to the error.
    pub samples: Vec<Sample>,
}

/// The result of a recipe.
#[derive(Clone, Debug)]
pub(crate) enum Quantity {
    Absent,
    Number(f64),
    /// Upper bounds, and the number of events up to each.
    Buckets(Vec<(f64, f64)>),
}

impl Verdict {
    /// Returns the samples if Prometheus accepts the page. Its parser must accept it, and so must
    /// its scrape loop and its storage, which reject names that are empty or not UTF-8, and
    /// repeated labels.
    pub(crate) fn accepted(&self) -> Option<&[Sample]> {
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

    /// Returns the value of a label; a missing label has an empty one.
    pub(crate) fn label(&self, wanted: &[u8]) -> &[u8] {
        self.labels.iter().find(|(name, _)| name == wanted).map_or(b"", |(_, value)| value)
    }

    /// Returns the identity of its series. An empty label is as good as none.
    pub(crate) fn series(&self) -> Series {
        let labels = self.labels.iter().filter(|(_, value)| !value.is_empty());
        (self.name.clone(), labels.cloned().collect())
    }
}

/// Returns the family that a recipe of one series reads.
pub(crate) fn family(recipe: &Recipe) -> Bytes {
    recipe.families().next().expect("a recipe has a family").into_bytes()
}

/// Computes a recipe of one series from all samples of a page. Families with a malformed line
/// (`spoiled`) have no result.
pub(crate) fn quantity<'s>(
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
        // The first of equal series counts.
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

/// Adds up buckets; `None` if they are no complete histogram.
fn buckets(selected: &[&Sample]) -> Option<Quantity> {
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for sample in selected {
        let bound = number(sample.label(b"le")).filter(|bound| !bound.is_nan())?;
        let bound = bound + 0.0; // Turns -0 into 0.
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
    // A larger bucket includes the smaller ones.
    let mut highest = 0.0;
    for (_, count) in &mut buckets {
        highest = f64::max(highest, *count);
        *count = highest;
    }
    (complete && highest.is_finite()).then_some(Quantity::Buckets(buckets))
}

/// Parses a number as Prometheus's parsers do: a NaN with a sign and a number that overflows are
/// rejected.
pub(crate) fn number(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let number: f64 = text.parse().ok()?;
    let too_large = number.is_infinite() && text.contains(|c: char| c.is_ascii_digit());
    let signed = number.is_nan() && text.starts_with(['+', '-']);
    (!too_large && !signed).then_some(number)
}

/// Parses a bound as Go does, which also reads underscores and hexadecimal numbers.
fn bound(text: &[u8]) -> Option<f64> {
    let plain: Bytes = text.iter().copied().filter(|byte| *byte != b'_').collect();
    number(&plain).or_else(|| hexadecimal(&plain))
}

fn hexadecimal(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
    let (digits, power) = text.strip_prefix("0x")?.split_once('p')?;
    Some(f64::from(u32::from_str_radix(digits, 16).ok()?) * 2f64.powi(power.parse().ok()?))
}

impl Quantity {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Returns true if both are equal, apart from the order in which floats were added.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
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

/// Returns true if two samples of a family differ only in the spelling of a bound or of a quantile.
/// Prometheus's parsers normalize the spelling below a `# TYPE`.
pub(crate) fn has_bounds_of_two_spellings(samples: &[Sample], family: &[u8]) -> bool {
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
