//! What is known of one measure of a page. Thousands of pages have some seven each, so what is
//! unusual has memory only where it occurs.

use std::time::Duration;

use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{
    Measure, Track,
    exposition::{Contradiction, Extract, NotFinite, Value},
};
use llm_autoscaler_observe::samples::Found;

use crate::sampling::page_absence::Instead;

/// What is known of one measure of a page.
#[derive(Debug)]
pub(super) struct Known {
    /// The past.
    pub(super) track: Track,
    /// What is unusual about it on the last valid page, if anything is.
    pub(super) oddity: Option<Box<Oddity>>,
    /// True if the last valid page did not have it.
    pub(super) is_absent: bool,
    /// What the page had instead, once that was looked for.
    pub(super) absence: Option<Box<Instead>>,
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
        Self { track, oddity: None, is_absent: false, absence: None }
    }

    /// Returns what is unusual about it.
    pub(super) fn oddity(&self) -> Oddity {
        self.oddity.as_deref().copied().unwrap_or_default()
    }

    /// Takes what a scrape has extracted.
    pub(super) fn record(&mut self, extract: &Extract, at: Monotonic) {
        let Extract { value, alternative, ambiguous, contradiction, not_finite } = extract;
        self.is_absent = *value == Value::Absent;
        if !self.is_absent {
            self.absence = None;
        }
        // A number of another kind means something else: a total instead of a rate.
        let value = if contradiction.is_some() { &Value::Absent } else { value };
        self.track.push(at.0, value);
        let found = Found { alternative: *alternative, ambiguous: *ambiguous };
        let flaws = Flaws { contradiction: *contradiction, not_finite: *not_finite };
        let oddity = Oddity { found, flaws };
        if oddity != self.oddity() {
            self.oddity = (oddity != Oddity::default()).then(|| Box::new(oddity));
        }
    }

    /// Forgets the past.
    pub(super) fn forget(&mut self) {
        self.track = self.track.emptied();
        if let Some(oddity) = &mut self.oddity {
            oddity.found = Found::default();
        }
    }
}
