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
mod compiled;
mod contradiction;
mod declared;
mod error;
mod extract;
mod idle;
mod line;
mod listing;
mod mismatch;
mod names;
mod non_number;
mod not_finite;
mod pass;
mod scan;

use std::hash::{DefaultHasher, Hasher};

use self::{
    accumulator::Grouping,
    compiled::{CompiledName, CompiledRecipe},
    idle::{ValidPage, ZeroIf},
    line::Text,
    names::Beginnings,
    pass::Pass,
    scan::is_equal,
};
pub use self::{
    accumulator::Scratch,
    contradiction::Contradiction,
    declared::{Declaration, DeclaredType},
    error::PageError,
    extract::{Extract, PageSummary, Value},
    listing::{DeclaredTypes, ListedSeries, list_series, parse_series},
    mismatch::LabelMismatch,
    non_number::NonNumber,
    not_finite::NotFinite,
};
use crate::{
    kind::Kind,
    labels::{LabelRule, matches},
    recipe::{Recipe, Scale, Selector, Standing},
};

pub use crate::labels::LabelSet;

pub(crate) use self::line::number;

/// Reads the quantities of many recipes in one pass over a page.
///
/// Build it once for all recipes that a page is read for, and keep it.
#[derive(Clone, Debug, Default)]
pub struct Extractor {
    families: Vec<Family>,
    /// The places of the families whose names have n bytes; the last entry is for longer ones too.
    /// Most unwanted names have a length without any. A family may have several spellings, so that
    /// there are many of them.
    by_length: Vec<Vec<usize>>,
    /// The places of the families that a `# TYPE` line may be about whose name has n bytes; the
    /// last entry is for longer ones too.
    declared: Vec<Vec<usize>>,
    /// The beginnings of the names of these lines.
    beginnings: Beginnings,
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
    rules: Vec<LabelRule>,
    grouping: Grouping,
    accumulator: usize,
}

/// The length from which names are not told from each other by it, in bytes.
const LONGEST: usize = 127;

impl Extractor {
    /// Returns an extractor for the quantities of `recipes`.
    pub fn new(recipes: &[Recipe]) -> Self {
        let mut extractor = Self::default();
        for recipe in recipes {
            let mut terms = Vec::with_capacity(recipe.terms().len());
            for term in recipe.terms() {
                let names = term.iter().enumerate();
                let mut names: Vec<_> =
                    names.map(|name| extractor.compile_name(recipe, name)).collect();
                names.sort_by_key(|name| term[name.alternative].standing != Standing::Preferred);
                terms.push(names);
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
        let mut pass = Pass::new(self, scratch);
        let whole = pass.read(page);
        let Pass { summary, bad_line, .. } = pass;
        if whole.is_err() {
            scratch.begin(self.accumulators);
        }
        self.finish(scratch, out, whole.is_ok().then_some(ValidPage { bytes: page, summary }));
        whole?;
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

    /// Compiles a name of a term, given its index and its selector.
    fn compile_name(
        &mut self,
        recipe: &Recipe,
        (alternative, selector): (usize, &Selector),
    ) -> CompiledName {
        let labels = recipe.repeat_labels();
        let divisor = selector.scale.over.as_ref().map(|over| {
            let scale = Scale::UNIT;
            let over = Selector { name: over.clone(), scale, ..selector.clone() };
            self.compile(Kind::Gauge, labels, &over)
        });
        let accumulator = self.compile(recipe.kind(), labels, selector);
        CompiledName { alternative, accumulator, divisor, scale: selector.scale.clone() }
    }

    /// Returns the accumulator of `selector`, which recipes with the same selector share.
    fn compile(&mut self, kind: Kind, repeat_labels: &[String], selector: &Selector) -> usize {
        let name = kind.family(&selector.name).into_bytes();
        let by_bucket = kind == Kind::Histogram;
        let grouping = Grouping {
            by_bucket,
            repeat_labels: repeat_labels.to_vec(),
            times: selector.scale.times.clone(),
        };
        let mut hasher = DefaultHasher::new();
        hasher.write(&name);
        let hash = hasher.finish();
        let is_it = |family: &Family| family.hash == hash && family.name == name;
        let index = self.families.iter().position(is_it).unwrap_or_else(|| {
            let place = self.families.len();
            add_at(&mut self.by_length, length(&name), place);
            for bytes in declared::declaring_lengths(&name) {
                self.beginnings.add(&name[..bytes]);
                add_at(&mut self.declared, bytes.min(LONGEST), place);
            }
            self.families.push(Family { name, hash, selectors: Vec::new() });
            place
        });
        let selectors = &mut self.families[index].selectors;
        let known = selectors.iter().find(|known| {
            known.labels == selector.labels
                && known.rules == selector.rules
                && known.grouping == grouping
        });
        if let Some(known) = known {
            return known.accumulator;
        }
        let accumulator = self.accumulators;
        let (labels, rules) = (selector.labels.clone(), selector.rules.clone());
        selectors.push(CompiledSelector { labels, rules, grouping, accumulator });
        self.accumulators += 1;
        accumulator
    }

    fn family(&self, name: Text<'_>) -> Option<&Family> {
        if name.escaped {
            return self.families.iter().find(|family| name.is(&family.name));
        }
        self.bare_family(name.raw)
    }

    #[inline]
    fn bare_family(&self, name: &[u8]) -> Option<&Family> {
        let places = self.by_length.get(length(name))?;
        let mut families = places.iter().map(|place| &self.families[*place]);
        families.find(|family| is_equal(name, &family.name))
    }
}

impl Family {
    /// Adds one series to the accumulators of all selectors that match it. Returns true if one
    /// does.
    fn add(&self, scratch: &mut Scratch, labels: &impl LabelSet, value: f64) -> bool {
        let mut counted = false;
        for selector in &self.selectors {
            if matches(&selector.labels, &selector.rules, labels) {
                scratch.add(selector.accumulator, &selector.grouping, labels, value);
                counted = true;
            }
        }
        counted
    }
}

/// Returns the length of a name, up to the longest that is told from others.
fn length(name: &[u8]) -> usize {
    name.len().min(LONGEST)
}

/// Adds a place to those of a length, once.
fn add_at(places: &mut Vec<Vec<usize>>, length: usize, place: usize) {
    places.resize(places.len().max(length + 1), Vec::new());
    if places[length].last() != Some(&place) {
        places[length].push(place);
    }
}
