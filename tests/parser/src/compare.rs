//! Compares the numbers that our reader finds on a page with those of Prometheus.

use std::collections::{BTreeMap, BTreeSet};

use llm_autoscaler_engines::{
    Recipe,
    exposition::{Extractor, PageError, Scratch},
};

use crate::{
    lines::{Format, Lines, Oracle, Spelling, trim},
    model::{Bytes, Quantity, Sample, Verdict, family, has_bounds_of_two_spellings, quantity},
};

/// A page, and the recipes that are read from it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub format: Format,
    pub page: Bytes,
    pub recipes: Vec<Recipe>,
}

/// The outcome of a comparison, for one recipe.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Prometheus and we have the same number.
    Same,
    /// Neither has one.
    Absent,
    /// Prometheus accepts the page and has another result, because of these spellings.
    Differs(Vec<Spelling>),
    /// Prometheus rejects the page. We have the number of its valid lines, among them lines of
    /// these spellings.
    Refused(Vec<Spelling>),
    /// Prometheus rejects the page, and we have no number.
    AbsentToo,
    /// A difference without a known reason.
    Wrong(String),
}

impl Outcome {
    pub(crate) fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong(_))
    }
}

/// Compares all recipes of a page.
pub(crate) fn compare(oracle: &mut impl Oracle, case: &Case) -> Vec<Outcome> {
    let Case { format, page, recipes } = case;
    let mut found = Vec::new();
    let result = Extractor::new(recipes).read(page, &mut Scratch::default(), &mut found);

    let wanted: BTreeSet<Bytes> = recipes.iter().map(family).collect();
    let mut lines = Lines::read(oracle, *format, page, &wanted);
    let is_cut_off = is_cut_off(page);
    if is_cut_off {
        lines.spoiled.extend(wanted);
    }
    let verdict = oracle.ask(*format, page);
    let context = Context { case, lines: &lines, verdict: &verdict, is_cut_off };
    let whole = context.check_result(&result.map(|_| ()));
    let each = recipes.iter().zip(&found).map(|(recipe, found)| match &whole {
        Some(problem) => Outcome::Wrong(problem.clone()),
        None => context.outcome(oracle, recipe, &(&found.value).into()),
    });
    each.collect()
}

/// Returns true if the page lacks its last line feed, which `OpenMetrics` does not require behind
/// `# EOF`.
fn is_cut_off(page: &[u8]) -> bool {
    let rest = page.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    !matches!(trim(rest), b"" | b"# EOF")
}

struct Context<'c> {
    case: &'c Case,
    lines: &'c Lines,
    verdict: &'c Verdict,
    is_cut_off: bool,
}

impl Context<'_> {
    /// Returns what is wrong with the reader's result as a whole.
    fn check_result(&self, result: &Result<(), PageError>) -> Option<String> {
        let is_bad = !self.lines.spoiled.is_empty();
        let agrees = match result {
            Ok(()) => !is_bad,
            Err(PageError::BadLine { .. }) => is_bad,
            Err(PageError::CutOff { .. }) => self.is_cut_off,
            // No line may be of a wanted family then, malformed or not.
            Err(PageError::NotMetrics { .. }) => self.is_cut_off || !is_bad,
        };
        (!agrees).then(|| format!("the reader says {result:?}; malformed lines: {is_bad}"))
    }

    fn outcome(&self, oracle: &mut impl Oracle, recipe: &Recipe, found: &Quantity) -> Outcome {
        // Our result must always follow from the single lines.
        let by_lines = quantity(recipe, &self.lines.samples, &self.lines.spoiled);
        if !found.is_near(&by_lines) {
            return Outcome::Wrong(format!("found {found:?}, but the lines say {by_lines:?}"));
        }
        let Some(samples) = self.verdict.accepted() else {
            let spellings = self.spellings_of(recipe);
            return if found.is_absent() {
                Outcome::AbsentToo
            } else {
                Outcome::Refused(spellings)
            };
        };
        let by_page = quantity(recipe, samples, &BTreeSet::new());
        if found.is_near(&by_page) {
            return if found.is_absent() { Outcome::Absent } else { Outcome::Same };
        }
        let words = self.explain(oracle, recipe, samples);
        if words.is_empty() {
            let problem = "and no known spelling explains the difference";
            return Outcome::Wrong(format!(
                "found {found:?}, Prometheus has {by_page:?}, {problem}"
            ));
        }
        Outcome::Differs(words)
    }

    /// Returns the known spellings of lines of a recipe's family.
    fn spellings_of(&self, recipe: &Recipe) -> Vec<Spelling> {
        let family = family(recipe);
        let noted = self.lines.spellings.iter().filter(|(_, families)| families.contains(&family));
        noted.map(|(spelling, _)| *spelling).collect()
    }

    /// Returns the spellings that explain why Prometheus has another result.
    fn explain(
        &self,
        oracle: &mut impl Oracle,
        recipe: &Recipe,
        samples: &[Sample],
    ) -> Vec<Spelling> {
        let Case { format, page, .. } = self.case;
        let found = quantity(recipe, &self.lines.samples, &self.lines.spoiled);
        if self.is_cut_off {
            return vec![Spelling::CutOff];
        }
        // Our reader has no number for families with one of these.
        let mut words = self.spellings_of(recipe);
        words.retain(|word| {
            matches!(word, Spelling::NoComma | Spelling::NoBlank | Spelling::OddBound)
        });
        if found.is_absent() && !words.is_empty() {
            return words;
        }
        // With the following ones our result still follows from the single lines.
        if is_explained_by_leading_blanks(recipe, samples, &found) {
            return vec![Spelling::LeadingBlank];
        }
        if page.contains(&0) {
            return vec![Spelling::Nul];
        }
        let mut refuses = |line: &[u8]| {
            let end: &[u8] = if *format == Format::Text { b"\n" } else { b"\n# EOF\n" };
            oracle.ask(*format, &[line, end].concat()).error.is_some()
        };
        if page.split(|byte| *byte == b'\n').any(|line| line.contains(&b'"') && refuses(line)) {
            return vec![Spelling::QuotesOverLines];
        }
        let are_two = |samples: &[Sample]| has_bounds_of_two_spellings(samples, &family(recipe));
        // Both spellings are on the page, or one is the normalized form of a bound below the `#
        // TYPE`.
        let twice = are_two(&self.lines.samples) || are_two(samples);
        if twice { vec![Spelling::BoundTwice] } else { Vec::new() }
    }
}

/// Returns true if the only difference is that Prometheus includes the blanks before a name in it.
fn is_explained_by_leading_blanks(recipe: &Recipe, samples: &[Sample], found: &Quantity) -> bool {
    let trimmed =
        samples.iter().map(|sample| Sample { name: trim(&sample.name).to_vec(), ..sample.clone() });
    let trimmed: Vec<Sample> = trimmed.collect();
    found.is_near(&quantity(recipe, &trimmed, &BTreeSet::new()))
}

/// Counts of the outcomes and the spellings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub same: usize,
    pub absent: usize,
    pub refused: usize,
    pub absent_too: usize,
    pub differs: usize,
    pub wrong: usize,
    pub spellings: BTreeMap<Spelling, usize>,
}

impl Counts {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        let (count, words) = match outcome {
            Outcome::Same => (&mut self.same, &[][..]),
            Outcome::Absent => (&mut self.absent, &[][..]),
            Outcome::Differs(words) => (&mut self.differs, &words[..]),
            Outcome::Refused(words) => (&mut self.refused, &words[..]),
            Outcome::AbsentToo => (&mut self.absent_too, &[][..]),
            Outcome::Wrong(_) => (&mut self.wrong, &[][..]),
        };
        *count += 1;
        for word in words {
            *self.spellings.entry(*word).or_default() += 1;
        }
    }
}
