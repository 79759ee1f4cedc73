//! What is known of one measure of a page. Thousands of pages have some seven each, so what is
//! unusual has memory only where it occurs.

use std::time::Duration;

use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{
    Measure, Recipe, Track,
    exposition::{Contradiction, Extract, NotFinite, Value},
};
use llm_autoscaler_observe::samples::Found;

use crate::sampling::page_absence::Instead;

/// What is known of one measure of a page.
#[derive(Debug)]
pub(super) struct Known {
    /// The past.
    pub(super) track: Track,
    /// True if the last valid page did not have it.
    pub(super) is_absent: bool,
    /// What is rare, if there is anything.
    rare: Option<Box<Rare>>,
}

/// What few measures have.
#[derive(Debug, Default, PartialEq)]
struct Rare {
    /// What is unusual about it on the last valid page.
    oddity: Oddity,
    /// What the page had instead, once that was looked for. Even fewer have it, and it is larger.
    absence: Option<Box<Instead>>,
}

/// What is unusual about the series of a measure on a page.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Oddity {
    /// The way in which it was found.
    pub(crate) found: Found,
    pub(crate) flaws: Flaws,
}

/// The reasons why the series of a measure are on a page and have no value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Flaws {
    /// The page's type of a series, if it contradicts the measure's kind.
    pub(crate) contradiction: Option<Contradiction>,
    /// A series that is NaN or infinite.
    pub(crate) not_finite: Option<NotFinite>,
}

impl Known {
    pub(super) fn new(measure: &Measure, gap: Duration) -> Self {
        let track = Track::new(measure.recipe.kind(), measure.window, gap);
        Self { track, is_absent: false, rare: None }
    }

    /// Returns what is unusual about it.
    pub(super) fn oddity(&self) -> Oddity {
        self.rare.as_ref().map(|rare| rare.oddity).unwrap_or_default()
    }

    /// Returns what the page had instead, once that was looked for.
    pub(super) fn absence(&self) -> Option<&Instead> {
        self.rare.as_ref()?.absence.as_deref()
    }

    /// Looks on the last valid page, which did not have it, for what there is instead. `is_known`
    /// is true if the page resembles that of a known program.
    pub(super) fn explain_absence(&mut self, page: &[u8], recipe: &Recipe, is_known: bool) {
        let absence = &mut self.rare.get_or_insert_default().absence;
        let former = absence.take().map(|former| *former);
        *absence = Some(Box::new(Instead::find(page, recipe, is_known, former)));
    }

    /// Takes what a scrape has extracted.
    pub(super) fn record(&mut self, extract: &Extract, at: Monotonic) {
        let Extract { value, alternative, ambiguous, contradiction, not_finite } = extract;
        self.is_absent = *value == Value::Absent;
        if !self.is_absent && self.absence().is_some() {
            self.change_rare(|rare| rare.absence = None);
        }
        // A number of another kind means something else: a total instead of a rate.
        let value = if contradiction.is_some() { &Value::Absent } else { value };
        self.track.push(at.0, value);
        let found = Found { alternative: *alternative, ambiguous: *ambiguous };
        let flaws = Flaws { contradiction: *contradiction, not_finite: *not_finite };
        let oddity = Oddity { found, flaws };
        if oddity != self.oddity() {
            self.change_rare(|rare| rare.oddity = oddity);
        }
    }

    /// Forgets the past.
    pub(super) fn forget(&mut self) {
        self.track = self.track.emptied();
        if let Some(rare) = &mut self.rare {
            rare.oddity.found = Found::default();
        }
    }

    /// Changes what is rare, and frees its memory if nothing of it is left.
    fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        change(self.rare.get_or_insert_default());
        self.rare.take_if(|rare| **rare == Rare::default());
    }
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_engines::Kind;

    use super::*;

    #[test]
    fn what_is_rare_takes_no_memory_once_it_is_over() {
        let recipe = Recipe::series(Kind::Gauge, "q", []);
        let measure = Measure { recipe, window: Duration::ZERO };
        let mut known = Known::new(&measure, Duration::from_secs(1));
        let is_there = Extract { value: Value::Number(1.0), ..Extract::default() };
        let is_renamed = Extract { alternative: Some((0, 1)), ..is_there.clone() };
        let pages = [
            (&is_there, false),
            (&is_renamed, true),
            (&Extract::default(), true),
            (&is_there, false),
        ];
        for (second, (extract, is_rare)) in pages.into_iter().enumerate() {
            known.record(extract, Monotonic(Duration::from_secs(second as u64)));
            assert_eq!(known.oddity() != Oddity::default(), second == 1, "{second}");
            if known.is_absent {
                known.explain_absence(b"qq 1\n", &measure.recipe, false);
            }
            assert_eq!(known.absence().is_some(), second == 2, "{second}");
            assert_eq!(known.rare.is_some(), is_rare, "{second}");
        }
    }
}
