//! The Prometheus text format, read in one pass for the few series that are wanted.
//!
//! It is format 0.0.4, and what `OpenMetrics` and newer exporters put into it: timestamps, exemplars,
//! `# EOF`, quoted UTF-8 names. Lines of families that nobody wants are looked at, not parsed.
//!
//! What is doubtful is absent, never small:
//! - A wanted series whose value is NaN or infinite makes its number absent (an infinite gauge says as little
//!   as none, and would ask for the maximum of replicas).
//! - A series that a page gives twice counts once, by its first value, as Prometheus has it. Two lines are
//!   the same series if they are equal up to the value: an exporter spells a series one way.
//! - A page whose last line is not ended by a line feed has been cut off: the format asks for it, and `1` may
//!   have been `11`.

mod error;
mod line;
mod tally;

use llm_autoscaler_core::Milli;
use memchr::memchr_iter;

pub use self::error::PageError;
use self::{
    line::{Sample, Text, looks_like_sample, name_of, trim},
    tally::{Seen, Tallies, Tally},
};
use crate::{Fold, Recipe, Selector};

/// Finds the numbers of many recipes in one pass over a page.
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
    selectors: Vec<(Selector, usize)>,
}

/// A recipe in terms of tallies.
#[derive(Clone, Debug)]
struct Formula {
    terms: Vec<Vec<usize>>,
    fold: Fold,
}

/// What was on a page besides the wanted numbers.
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
    /// Prepares to find the numbers of `recipes`.
    pub fn new(recipes: &[Recipe]) -> Self {
        let mut extractor = Self::default();
        for recipe in recipes {
            let mut tallies = |term: &Vec<Selector>| term.iter().map(|s| extractor.tally_of(s)).collect();
            let terms = recipe.terms().iter().map(&mut tallies).collect();
            extractor.recipes.push(Formula { terms, fold: recipe.fold() });
        }
        extractor
    }

    /// Reads `page`. Fills `out` with one number per recipe, in their order; `None` where the page does not
    /// give it.
    ///
    /// Allocates nothing, if `out` has been used before, for up to 32 distinct selectors and 32 wanted lines.
    ///
    /// # Errors
    /// The page is no metrics page or cut off: all of `out` is `None`. Or a line of a wanted family is malformed:
    /// `out` then has the numbers of the recipes that do not need that family.
    pub fn read(&self, page: &[u8], out: &mut Vec<Option<Milli>>) -> Result<PageSummary, PageError> {
        out.clear();
        out.resize(self.recipes.len(), None);
        let mut pass = Pass::new(self);
        let mut start = 0;
        for end in memchr_iter(b'\n', page) {
            pass.line(&page[start..end]);
            start = end + 1;
        }
        pass.rest(page, start)?;
        for (value, recipe) in out.iter_mut().zip(&self.recipes) {
            *value = recipe.value(pass.tallies.all());
        }
        pass.bad.map_or(Ok(pass.summary), Err)
    }

    /// The tally of `selector`; a new one if nobody has asked for it before.
    fn tally_of(&mut self, selector: &Selector) -> usize {
        let name = selector.name.as_bytes();
        let index = self.families.iter().position(|family| family.name == name).unwrap_or_else(|| {
            self.lengths |= length_bit(name);
            self.families.push(Family { name: name.to_vec(), selectors: Vec::new() });
            self.families.len() - 1
        });
        let selectors = &mut self.families[index].selectors;
        if let Some((_, tally)) = selectors.iter().find(|(known, _)| known == selector) {
            return *tally;
        }
        selectors.push((selector.clone(), self.tallies));
        self.tallies += 1;
        self.tallies - 1
    }

    fn family(&self, name: Text<'_>) -> Option<&Family> {
        let possible = name.escaped || self.lengths & length_bit(name.raw) != 0;
        if possible { self.families.iter().find(|family| name.is(&family.name)) } else { None }
    }
}

/// One pass over one page.
struct Pass<'e, 'p> {
    extractor: &'e Extractor,
    tallies: Tallies,
    seen: Seen<'p>,
    summary: PageSummary,
    /// How many lines have been begun.
    lines: usize,
    /// The first malformed line of a wanted family.
    bad: Option<PageError>,
}

impl<'e, 'p> Pass<'e, 'p> {
    fn new(extractor: &'e Extractor) -> Self {
        let tallies = Tallies::new(extractor.tallies);
        Self {
            extractor,
            tallies,
            seen: Seen::default(),
            summary: PageSummary::default(),
            lines: 0,
            bad: None,
        }
    }

    fn line(&mut self, line: &'p [u8]) {
        self.lines += 1;
        let line = trim(line);
        match line.first() {
            None => {}
            Some(b'#') => self.summary.comments += 1,
            Some(_) => match name_of(line) {
                Some(name) => match self.extractor.family(name) {
                    Some(family) => self.wanted(line, family),
                    None => self.unwanted(looks_like_sample(line, name)),
                },
                None => self.unwanted(false),
            },
        }
    }

    fn unwanted(&mut self, sound: bool) {
        self.summary.samples += usize::from(sound);
        self.summary.skipped_malformed += usize::from(!sound);
    }

    fn wanted(&mut self, line: &'p [u8], family: &Family) {
        let sample = match Sample::parse(line) {
            Ok(sample) => sample,
            Err(reason) => {
                // Which of the family's series it would have been is not known, so none of them can be trusted.
                for (_, tally) in &family.selectors {
                    self.tallies.add(*tally, f64::NAN);
                }
                self.bad.get_or_insert_with(|| PageError::bad_line(self.lines, reason, line));
                return;
            }
        };
        self.summary.samples += 1;
        if !self.seen.insert(sample.series) {
            self.summary.duplicates += 1;
            return;
        }
        let mut counted = false;
        for (selector, tally) in &family.selectors {
            if sample.has_all(&selector.labels) {
                self.tallies.add(*tally, sample.value);
                counted = true;
            }
        }
        self.summary.not_finite += usize::from(counted && !sample.value.is_finite());
    }

    /// What stands behind the last line feed, from `start`; and what the page as a whole is.
    fn rest(&mut self, page: &'p [u8], start: usize) -> Result<(), PageError> {
        let rest = &page[start..];
        self.line(rest);
        let PageSummary { samples, comments, skipped_malformed, .. } = self.summary;
        if samples == 0 && comments == 0 && skipped_malformed > 0 && self.bad.is_none() {
            return Err(PageError::not_metrics(page));
        }
        // OpenMetrics lets the last line feed be left out, and says by its last line that it is complete.
        if matches!(trim(rest), b"" | b"# EOF") { Ok(()) } else { Err(PageError::cut_off(self.lines, rest)) }
    }
}

impl Formula {
    /// The number, if every term is there and finite. A sum that is out of range is the end of the range.
    fn value(&self, tallies: &[Tally]) -> Option<Milli> {
        let mut total = 0.0;
        for term in &self.terms {
            let tally = term.iter().map(|tally| &tallies[*tally]).find(|tally| tally.count > 0)?;
            total += tally.folded(self.fold);
        }
        Milli::from_f64(total)
    }
}

fn length_bit(name: &[u8]) -> u128 {
    1 << name.len().min(127)
}
