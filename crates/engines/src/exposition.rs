//! The Prometheus text format, read in one pass for the few series that are wanted.
//!
//! It is format 0.0.4, and what `OpenMetrics` and newer exporters put into it: timestamps, exemplars,
//! `# EOF`, quoted UTF-8 names. Lines of families that nobody wants are looked at, not parsed.
//!
//! What is doubtful is absent, never small:
//! - A wanted series whose value is NaN or infinite makes its number absent (an infinite gauge says as little
//!   as none, and would ask for the maximum of replicas). So does a sum that no float holds.
//! - A wanted line that cannot be read makes the numbers absent that might have needed it, and no others.
//! - A series that a page gives twice counts once, by its first value, as Prometheus has it; however it is
//!   spelled.
//! - A page whose last line is not ended by a line feed has been cut off: the format asks for it, and `1` may
//!   have been `11`.
//!
//! Timestamps are not looked at: whoever reads a page knows when it was read.

mod error;
mod line;
mod tally;

use std::hash::{DefaultHasher, Hasher};

use memchr::memchr_iter;

pub(crate) use self::line::number;
pub use self::{
    error::PageError,
    tally::{Labels, Scratch},
};
use self::{
    line::{Sample, Text, beginning_of, looks_like_sample, name_of, trim},
    tally::Shape,
};
use crate::{Buckets, Kind, Recipe, Selector, Standing};

/// Finds the quantities of many recipes in one pass over a page.
///
/// Build it once for the union of all recipes that look at a page, and keep it.
#[derive(Clone, Debug, Default)]
pub struct Extractor {
    families: Vec<Family>,
    /// Bit n: there is a family whose name has n bytes (for the highest bit: or more). Turns most names away.
    lengths: u128,
    /// How many tallies a page needs: one per distinct selector.
    tallies: usize,
    recipes: Vec<Formula>,
}

/// A wanted name, and the selectors that want it.
#[derive(Clone, Debug)]
struct Family {
    name: Vec<u8>,
    /// A hash of the name.
    hash: u64,
    wanted: Vec<Wanted>,
}

/// A selector, and where what it selects is added up.
#[derive(Clone, Debug)]
struct Wanted {
    labels: Vec<(String, String)>,
    shape: Shape,
    tally: usize,
}

/// A recipe in terms of tallies.
#[derive(Clone, Debug)]
struct Formula {
    recipe: Recipe,
    terms: Vec<Vec<usize>>,
}

/// What a page, or a server's answer, says about one recipe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extract {
    /// The quantity.
    pub value: Value,
    /// The first term that was not found under the first of its names, and the name's index; both from 0.
    pub alternative: Option<(usize, usize)>,
    /// Some term was found under a name and under a former one as well, with different values.
    pub ambiguous: bool,
}

/// A quantity at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// It is not there in full.
    #[default]
    Absent,
    /// A gauge or a counter.
    Number(f64),
    /// A histogram: how many events there have been of each size.
    Buckets(Buckets),
}

/// What was on a page besides the wanted quantities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageSummary {
    /// Lines that are samples, wanted or not.
    pub samples: usize,
    /// Comments: `# HELP`, `# TYPE`, `# EOF` and any other.
    pub comments: usize,
    /// Lines of no wanted family that cannot be samples. They disturb nothing.
    pub skipped_malformed: usize,
    /// Samples of wanted series that are NaN or infinite.
    pub not_finite: usize,
    /// Samples of wanted series that had been given before on the same page.
    pub duplicates: usize,
}

impl Extractor {
    /// Prepares to find the quantities of `recipes`.
    pub fn new(recipes: &[Recipe]) -> Self {
        let mut extractor = Self::default();
        for recipe in recipes {
            let mut tallies = |term: &Vec<Selector>| {
                term.iter().map(|selector| extractor.tally_of(recipe, selector)).collect()
            };
            let terms = recipe.terms().iter().map(&mut tallies).collect();
            extractor.recipes.push(Formula { recipe: recipe.clone(), terms });
        }
        extractor
    }

    /// Reads `page`. Fills `out` with what it says of each recipe, in their order.
    ///
    /// Allocates nothing, if `scratch` and `out` have been used before.
    ///
    /// # Errors
    /// The page is no metrics page or cut off: all of `out` is absent. Or a line of a wanted family is malformed:
    /// `out` then has the quantities of the recipes that do not need that family.
    pub fn read(
        &self,
        page: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<Extract>,
    ) -> Result<PageSummary, PageError> {
        scratch.begin(self.tallies);
        let mut pass =
            Pass { extractor: self, scratch, summary: PageSummary::default(), lines: 0, bad: None };
        let mut start = 0;
        for end in memchr_iter(b'\n', page) {
            pass.line(&page[start..end]);
            start = end + 1;
        }
        let rest = pass.rest(page, start);
        let Pass { summary, bad, .. } = pass;
        if rest.is_err() {
            scratch.begin(self.tallies);
        }
        self.conclude(scratch, out);
        rest?;
        bad.map_or(Ok(summary), Err)
    }

    /// The same from series that somebody else has parsed, each given once; their values are of one moment.
    pub fn collect<'s, L: Labels + 's>(
        &self,
        series: impl IntoIterator<Item = (&'s str, L, f64)>,
        scratch: &mut Scratch,
        out: &mut Vec<Extract>,
    ) {
        scratch.begin(self.tallies);
        for (name, labels, value) in series {
            if let Some(family) = self.family(Text::bare(name.as_bytes())) {
                family.add(scratch, &labels, value);
            }
        }
        self.conclude(scratch, out);
    }

    fn conclude(&self, scratch: &mut Scratch, out: &mut Vec<Extract>) {
        scratch.conclude();
        out.resize_with(self.recipes.len(), Extract::default);
        for (extract, formula) in out.iter_mut().zip(&self.recipes) {
            formula.fill(scratch, extract);
        }
    }

    /// The tally of `selector`; a new one if nobody has asked for it before.
    fn tally_of(&mut self, recipe: &Recipe, selector: &Selector) -> usize {
        let name = recipe.kind().family(&selector.name).into_bytes();
        let shape =
            Shape { buckets: recipe.kind() == Kind::Histogram, repeats: recipe.repeats().to_vec() };
        let index =
            self.families.iter().position(|family| family.name == name).unwrap_or_else(|| {
                self.lengths |= length_bit(&name);
                let mut hasher = DefaultHasher::new();
                hasher.write(&name);
                self.families.push(Family { name, hash: hasher.finish(), wanted: Vec::new() });
                self.families.len() - 1
            });
        let wanted = &mut self.families[index].wanted;
        let known =
            wanted.iter().find(|known| known.labels == selector.labels && known.shape == shape);
        if let Some(known) = known {
            return known.tally;
        }
        wanted.push(Wanted { labels: selector.labels.clone(), shape, tally: self.tallies });
        self.tallies += 1;
        self.tallies - 1
    }

    fn family(&self, name: Text<'_>) -> Option<&Family> {
        let possible = name.escaped || self.lengths & length_bit(name.raw) != 0;
        if possible { self.families.iter().find(|family| name.is(&family.name)) } else { None }
    }
}

impl Family {
    /// Adds one series to the tallies that want it; whether any does.
    fn add(&self, scratch: &mut Scratch, labels: &impl Labels, value: f64) -> bool {
        let mut counted = false;
        for wanted in &self.wanted {
            if wanted.labels.iter().all(|(name, value)| labels.has(name, value)) {
                scratch.add(wanted.tally, &wanted.shape, labels, value);
                counted = true;
            }
        }
        counted
    }
}

/// One pass over one page.
struct Pass<'e> {
    extractor: &'e Extractor,
    scratch: &'e mut Scratch,
    summary: PageSummary,
    /// How many lines have been begun.
    lines: usize,
    /// The first malformed line of a wanted family.
    bad: Option<PageError>,
}

impl Pass<'_> {
    fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        let line = trim(line);
        match line.first() {
            None => {}
            Some(b'#') => self.summary.comments += 1,
            Some(_) => match name_of(line) {
                Some(name) => match self.extractor.family(name) {
                    Some(family) => self.wanted(line, family),
                    None => self.unwanted(line, name),
                },
                None => self.summary.skipped_malformed += 1,
            },
        }
    }

    fn unwanted(&mut self, line: &[u8], name: Text<'_>) {
        if looks_like_sample(line, name) {
            self.summary.samples += 1;
        } else if let Some(family) =
            beginning_of(line, name).and_then(|name| self.extractor.family(name))
        {
            self.wanted(line, family);
        } else {
            self.summary.skipped_malformed += 1;
        }
    }

    fn wanted(&mut self, line: &[u8], family: &Family) {
        let sample = match Sample::parse(line) {
            Ok(sample) => sample,
            Err(reason) => {
                // Which of the family's series it would have been is not known, so none of them can be trusted.
                for wanted in &family.wanted {
                    self.scratch.spoil(wanted.tally);
                }
                self.bad.get_or_insert_with(|| PageError::bad_line(self.lines, reason, line));
                return;
            }
        };
        self.summary.samples += 1;
        if !self.scratch.is_new(family.hash.wrapping_add(sample.identity)) {
            self.summary.duplicates += 1;
            return;
        }
        let counted = family.add(self.scratch, &sample.labels, sample.value);
        self.summary.not_finite += usize::from(counted && !sample.value.is_finite());
    }

    /// What stands behind the last line feed, from `start`; and what the page as a whole is.
    fn rest(&mut self, page: &[u8], start: usize) -> Result<(), PageError> {
        let rest = &page[start..];
        self.line(rest);
        let PageSummary { samples, comments, skipped_malformed, .. } = self.summary;
        if samples == 0 && comments == 0 && skipped_malformed > 0 && self.bad.is_none() {
            return Err(PageError::not_metrics(page));
        }
        // OpenMetrics lets the last line feed be left out, and says by its last line that it is complete.
        if matches!(trim(rest), b"" | b"# EOF") {
            Ok(())
        } else {
            Err(PageError::cut_off(self.lines, rest))
        }
    }
}

impl Formula {
    /// The quantity, if every term is there and finite.
    fn fill(&self, scratch: &Scratch, extract: &mut Extract) {
        (extract.alternative, extract.ambiguous) = (None, false);
        if self.recipe.kind() == Kind::Histogram {
            return self.fill_buckets(scratch, extract);
        }
        let mut total = Some(0.0);
        for (index, (term, names)) in self.terms.iter().zip(self.recipe.terms()).enumerate() {
            let mut found = term.iter().enumerate().filter_map(|(alternative, tally)| {
                Some((alternative, scratch.number(*tally, self.recipe.fold())?))
            });
            let Some((alternative, value)) = found.next() else {
                total = None;
                continue;
            };
            // NaN differs from everything, itself included: what is not finite is absent, not ambiguous.
            extract.ambiguous |= found.any(|(other, rival)| {
                names[other].standing == Standing::Former && (rival - value).abs() > 1e-9
            });
            if alternative > 0 && extract.alternative.is_none() {
                extract.alternative = Some((index, alternative));
            }
            total = total.map(|total| total + value);
        }
        extract.value = match total {
            Some(total) if total.is_finite() => Value::Number(total),
            _ => Value::Absent,
        };
    }

    /// Histograms have one term.
    fn fill_buckets(&self, scratch: &Scratch, extract: &mut Extract) {
        let mut buckets = match std::mem::take(&mut extract.value) {
            Value::Buckets(buckets) => buckets,
            Value::Absent | Value::Number(_) => Buckets::default(),
        };
        let mut present =
            self.terms.iter().flatten().enumerate().filter(|(_, tally)| scratch.has_cells(**tally));
        if let Some((alternative, tally)) = present.next()
            && scratch.fill_buckets(*tally, &mut buckets)
        {
            extract.alternative = (alternative > 0).then_some((0, alternative));
            extract.value = Value::Buckets(buckets);
        }
    }
}

fn length_bit(name: &[u8]) -> u128 {
    1 << name.len().min(127)
}
