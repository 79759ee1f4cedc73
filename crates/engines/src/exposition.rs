//! The Prometheus text format, read in one pass for the few series that are wanted.
//!
//! The format is 0.0.4, with what `OpenMetrics` and newer exporters add to it: timestamps,
//! exemplars, `# EOF`, quoted UTF-8 names. Lines of families that no recipe wants are only glanced
//! at.
//!
//! Anything doubtful is absent, never small:
//! - A wanted series with a value of NaN or infinity makes its quantity absent, unless a finite
//!   series repeats it. An infinite gauge means as little as a missing one, and would ask for the
//!   maximum of replicas. A sum that overflows is absent too.
//! - A wanted line that is malformed makes the quantities absent that might have needed it, and no
//!   others.
//! - A series that a page repeats counts once, by its first value, as in Prometheus; spelling makes
//!   no difference.
//! - A page without a line feed at the end of its last line has been cut off. The format requires
//!   the line feed, and without it `1` may have been `11`.
//!
//! Timestamps are ignored, because the reader of a page knows when it was scraped.

mod accumulator;
mod contradiction;
mod declared;
mod error;
mod extract;
mod idle;
mod line;
mod listing;
mod mismatch;
mod non_number;
mod not_finite;

use std::hash::{DefaultHasher, Hasher};

use memchr::memchr_iter;

use self::{
    accumulator::Grouping,
    idle::{ValidPage, ZeroIf},
    line::{Sample, Text, looks_like_sample, name_of, name_without_blank, trim},
};
pub use self::{
    accumulator::{LabelSet, Scratch},
    contradiction::Contradiction,
    declared::{Declaration, DeclaredType},
    error::PageError,
    extract::{Extract, PageSummary, Value},
    listing::{ListedSeries, declared_type, kind_of, list_series, parse_series},
    mismatch::LabelMismatch,
    non_number::NonNumber,
    not_finite::NotFinite,
};
use crate::{
    buckets::Buckets,
    kind::Kind,
    recipe::{Recipe, Selector, Standing},
};

pub(crate) use self::line::number;

/// Reads the quantities of many recipes in one pass over a page.
///
/// Build it once for all recipes that a page is read for, and keep it.
#[derive(Clone, Debug, Default)]
pub struct Extractor {
    families: Vec<Family>,
    /// Bit n is set if a family's name has n bytes; the highest bit stands for longer names as
    /// well. Most unwanted names fail this test.
    lengths: u128,
    /// The number of accumulators: one for each distinct selector.
    accumulators: usize,
    recipes: Vec<CompiledRecipe>,
}

/// A wanted family, and the selectors that want it.
#[derive(Clone, Debug)]
struct Family {
    name: Vec<u8>,
    /// A hash of the name.
    hash: u64,
    selectors: Vec<CompiledSelector>,
}

/// The labels of a selector, and the accumulator that adds up the series with these labels.
#[derive(Clone, Debug)]
struct CompiledSelector {
    labels: Vec<(String, String)>,
    grouping: Grouping,
    accumulator: usize,
}

/// A recipe with an accumulator in place of each selector.
#[derive(Clone, Debug)]
struct CompiledRecipe {
    recipe: Recipe,
    terms: Vec<Vec<usize>>,
    zero_if: ZeroIf,
}

impl Extractor {
    /// Returns an extractor for the quantities of `recipes`.
    pub fn new(recipes: &[Recipe]) -> Self {
        let mut extractor = Self::default();
        for recipe in recipes {
            let mut terms = Vec::with_capacity(recipe.terms().len());
            for term in recipe.terms() {
                let selectors = term.iter();
                let compile =
                    |selector| extractor.compile(recipe.kind(), recipe.repeat_labels(), selector);
                terms.push(selectors.map(compile).collect());
            }
            let zero_if = ZeroIf::new(&mut extractor, recipe.absence());
            extractor.recipes.push(CompiledRecipe { recipe: recipe.clone(), terms, zero_if });
        }
        extractor
    }

    /// Reads `page`, and fills `out` with one result for each recipe, in their order.
    ///
    /// It allocates nothing if `scratch` and `out` have been used before.
    ///
    /// # Errors
    /// Fails if the page is not a metrics page or is cut off; all of `out` is absent then. Fails
    /// also if a line of a wanted family is malformed; `out` then has the quantities of the recipes
    /// that do not need that family.
    pub fn read(
        &self,
        page: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<Extract>,
    ) -> Result<PageSummary, PageError> {
        scratch.begin(self.accumulators);
        let mut pass = Pass {
            extractor: self,
            scratch,
            summary: PageSummary::default(),
            lines: 0,
            bad_line: None,
        };
        let mut start = 0;
        for end in memchr_iter(b'\n', page) {
            pass.line(&page[start..end]);
            start = end + 1;
        }
        let rest = pass.finish(page, start);
        let Pass { summary, bad_line, .. } = pass;
        if rest.is_err() {
            scratch.begin(self.accumulators);
        }
        self.finish(scratch, out, rest.is_ok().then_some(ValidPage { bytes: page, summary }));
        rest?;
        bad_line.map_or(Ok(summary), Err)
    }

    /// Fills `out` from series that have been parsed already. Each series must come once, and all
    /// values must be of one moment.
    pub fn collect<'s, L: LabelSet + 's>(
        &self,
        series: impl IntoIterator<Item = (&'s str, L, f64)>,
        scratch: &mut Scratch,
        out: &mut Vec<Extract>,
    ) {
        scratch.begin(self.accumulators);
        for (name, labels, value) in series {
            if let Some(family) = self.family(Text::bare(name.as_bytes())) {
                family.add(scratch, &labels, value);
            }
        }
        self.finish(scratch, out, None);
    }

    fn finish(&self, scratch: &mut Scratch, out: &mut Vec<Extract>, page: Option<ValidPage<'_>>) {
        scratch.finish();
        out.resize_with(self.recipes.len(), Extract::default);
        for (extract, recipe) in out.iter_mut().zip(&self.recipes) {
            recipe.fill(scratch, extract, page);
        }
    }

    /// Returns the accumulator of `selector`, which recipes with the same selector share.
    fn compile(&mut self, kind: Kind, repeat_labels: &[String], selector: &Selector) -> usize {
        let name = kind.family(&selector.name).into_bytes();
        let by_bucket = kind == Kind::Histogram;
        let grouping = Grouping { by_bucket, repeat_labels: repeat_labels.to_vec() };
        let index =
            self.families.iter().position(|family| family.name == name).unwrap_or_else(|| {
                self.lengths |= length_bit(&name);
                let mut hasher = DefaultHasher::new();
                hasher.write(&name);
                let (hash, selectors) = (hasher.finish(), Vec::new());
                self.families.push(Family { name, hash, selectors });
                self.families.len() - 1
            });
        let selectors = &mut self.families[index].selectors;
        let known = selectors
            .iter()
            .find(|known| known.labels == selector.labels && known.grouping == grouping);
        if let Some(known) = known {
            return known.accumulator;
        }
        let accumulator = self.accumulators;
        let labels = selector.labels.clone();
        selectors.push(CompiledSelector { labels, grouping, accumulator });
        self.accumulators += 1;
        accumulator
    }

    fn family(&self, name: Text<'_>) -> Option<&Family> {
        let possible = name.escaped || self.lengths & length_bit(name.raw) != 0;
        if possible { self.families.iter().find(|family| name.is(&family.name)) } else { None }
    }
}

impl Family {
    /// Adds one series to the accumulators of all selectors that match it. Returns true if one
    /// does.
    fn add(&self, scratch: &mut Scratch, labels: &impl LabelSet, value: f64) -> bool {
        let mut counted = false;
        for selector in &self.selectors {
            if selector.labels.iter().all(|(name, value)| labels.has(name, value)) {
                scratch.add(selector.accumulator, &selector.grouping, labels, value);
                counted = true;
            }
        }
        counted
    }
}

/// The state of one pass over a page.
struct Pass<'e> {
    extractor: &'e Extractor,
    scratch: &'e mut Scratch,
    summary: PageSummary,
    /// The number of lines read so far.
    lines: usize,
    /// The first malformed line of a wanted family.
    bad_line: Option<PageError>,
}

impl Pass<'_> {
    fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        let line = trim(line);
        match line.first() {
            None => {}
            Some(b'#') => {
                self.summary.comments += 1;
                self.declare(line);
            }
            Some(_) => match name_of(line) {
                Some(name) => match self.extractor.family(name) {
                    Some(family) => self.wanted(line, family),
                    None => self.unwanted(line, name),
                },
                None => self.summary.skipped_malformed += 1,
            },
        }
    }

    /// Notes the type of a `# TYPE` line for the wanted series that it is about. A line about the
    /// series itself counts before one about its family.
    fn declare(&mut self, line: &[u8]) {
        let Some((name, declared)) = declared::type_line(line) else { return };
        for family in &self.extractor.families {
            if let Some(declaration) = Declaration::of(&family.name, name, declared) {
                for selector in &family.selectors {
                    self.scratch.declare(selector.accumulator, declaration);
                }
            }
        }
    }

    fn unwanted(&mut self, line: &[u8], name: Text<'_>) {
        if looks_like_sample(line, name) {
            self.summary.samples += 1;
        } else if let Some(family) =
            name_without_blank(line, name).and_then(|name| self.extractor.family(name))
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
                // The line might be of any of the family's series, so none of them can be trusted.
                for selector in &family.selectors {
                    self.scratch.invalidate(selector.accumulator);
                }
                self.bad_line.get_or_insert_with(|| PageError::bad_line(self.lines, reason, line));
                return;
            }
        };
        self.summary.samples += 1;
        if !self.scratch.insert_series(family.hash.wrapping_add(sample.identity)) {
            self.summary.duplicates += 1;
            return;
        }
        let counted = family.add(self.scratch, &sample.labels, sample.value);
        self.summary.not_finite += usize::from(counted && !sample.value.is_finite());
    }

    /// Reads the text behind the last line feed, which begins at `start`, and checks the page as a
    /// whole.
    fn finish(&mut self, page: &[u8], start: usize) -> Result<(), PageError> {
        let rest = &page[start..];
        self.line(rest);
        let PageSummary { samples, comments, skipped_malformed, .. } = self.summary;
        if samples == 0 && comments == 0 && skipped_malformed > 0 && self.bad_line.is_none() {
            return Err(PageError::not_metrics(page));
        }
        // OpenMetrics allows a page without the last line feed, because `# EOF` marks its end.
        if matches!(trim(rest), b"" | b"# EOF") {
            Ok(())
        } else {
            Err(PageError::cut_off(self.lines, rest))
        }
    }
}

impl CompiledRecipe {
    /// Fills in the quantity if every term is finite, and is present or counts as 0.
    fn fill(&self, scratch: &Scratch, extract: &mut Extract, page: Option<ValidPage<'_>>) {
        (extract.alternative, extract.ambiguous) = (None, false);
        extract.contradiction = Contradiction::find(&self.terms, self.recipe.kind(), scratch);
        extract.not_finite = NotFinite::find(&self.terms, scratch);
        if self.recipe.kind() == Kind::Histogram {
            return self.fill_buckets(scratch, extract, page);
        }
        let mut total = Some(0.0);
        for (index, (term, names)) in self.terms.iter().zip(self.recipe.terms()).enumerate() {
            let mut found = term.iter().enumerate().filter_map(|(alternative, accumulator)| {
                Some((alternative, scratch.number(*accumulator, self.recipe.fold())?))
            });
            let Some((alternative, value)) = found.next() else {
                if !self.zero_if.holds(scratch, page) {
                    total = None;
                }
                continue;
            };
            // Comparisons with NaN are false: a value that is not finite is absent, not ambiguous.
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

    /// Fills in a histogram, which has one term. One that is absent and counts as 0 has no events,
    /// and no buckets.
    fn fill_buckets(&self, scratch: &Scratch, extract: &mut Extract, page: Option<ValidPage<'_>>) {
        let mut buckets = match std::mem::take(&mut extract.value) {
            Value::Buckets(buckets) => buckets,
            Value::Absent | Value::Number(_) => Buckets::default(),
        };
        let alternatives = self.terms.iter().flatten().copied().enumerate();
        let mut present = alternatives.filter(|(_, accumulator)| scratch.has_series(*accumulator));
        match present.next() {
            Some((alternative, accumulator)) if scratch.fill_buckets(accumulator, &mut buckets) => {
                extract.alternative = (alternative > 0).then_some((0, alternative));
                extract.value = Value::Buckets(buckets);
            }
            None if self.zero_if.holds(scratch, page) => {
                buckets.clear();
                extract.value = Value::Buckets(buckets);
            }
            _ => {}
        }
    }
}

fn length_bit(name: &[u8]) -> u128 {
    1 << name.len().min(127)
}
