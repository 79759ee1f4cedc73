//! The sample of one measure on one page, and the doubt about it.

use std::{borrow::Cow, sync::Arc, time::Duration};

use llm_autoscaler_api::ScrapeConfig;
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{
    Absence, Engine, Measure, Program,
    exposition::{LabelMismatch, Value},
};
use llm_autoscaler_observe::samples::{Lookup, Sample, YOUNG};

use crate::sampling::{
    connection::Address,
    known_measure::Oddity,
    page_absence::PageHint,
    page_state::{PageState, STALE_INTERVALS},
};

/// The time after a scrape's timeout in which its result is still awaited.
const MARGIN: Duration = Duration::from_secs(1);
/// The time after a scrape's timeout in which the result of the first one is still awaited. At a
/// start with ten thousand autoscalers it waits for its turn for longer than a timeout, and a
/// sample that is due is no failure.
const FIRST_MARGIN: Duration = Duration::from_secs(30);

/// A lookup of samples on one page.
pub(super) struct PageLookup<'a> {
    pub(super) address: &'a Address,
    pub(super) config: &'a ScrapeConfig,
    /// The engine or gateway of the spec.
    pub(super) program: Program,
    /// The start of the subscription.
    pub(super) subscribed_at: Monotonic,
    pub(super) now: Monotonic,
}

impl PageLookup<'_> {
    /// Returns the latest sample of a measure, or the reason why there is none.
    pub(super) fn sample(&self, state: &PageState, measure: &Arc<Measure>) -> Lookup {
        let age = state.valid_at().map(|at| self.now.since(at));
        let age = age.filter(|age| *age <= self.stale_after());
        let (Some(age), Some((track, Oddity { found, flaws }))) = (age, state.track(measure))
        else {
            return match state.error() {
                Some(error) => Lookup::Missing(error.to_string()),
                None if state.is_refused(measure) => Lookup::Missing(self.text(
                    "others read so many different series of this page that no more are taken",
                )),
                // The first scrape is still awaited.
                None if !state.has_tried(measure)
                    && self.subscribed_for() < self.first_within() =>
                {
                    Lookup::Pending { error: None }
                }
                None => Lookup::Missing(self.no_sample()),
            };
        };
        let failed = (!state.is_latest())
            .then(|| state.error().map_or_else(|| self.no_sample(), ToString::to_string));
        if track.is_pending() {
            // A rate needs two scrapes.
            if age < self.patience() + 2 * self.config.interval {
                return Lookup::Pending { error: failed };
            }
            let reason = failed.unwrap_or_else(|| self.text("only one sample so far"));
            return Lookup::Missing(reason);
        }
        let value = track.value();
        if let Some(contradiction) = flaws.contradiction {
            let text = contradiction.describe(&measure.recipe);
            return Lookup::Contradicted(self.text(&text));
        }
        if value == Value::Absent {
            // The error of a bad line explains more than the absence of the series.
            let error = state.error().map(ToString::to_string);
            let not_finite = flaws.not_finite.filter(|_| state.is_latest());
            let not_finite =
                not_finite.map(|not_finite| self.text(&not_finite.describe(&measure.recipe)));
            let reason = error.or(not_finite);
            let absent = || match measure.recipe.absence() {
                Absence::Usual | Absence::LeftOut if state.has_usual_absences() => Lookup::NoSeries,
                _ => self.absent(state, measure),
            };
            return reason.map_or_else(absent, Lookup::NoNumber);
        }
        let doubt = failed.map(Cow::Owned).or_else(|| track.is_young().then_some(YOUNG.into()));
        Lookup::Sample(Sample { value, age, doubt, found, copies: 1 })
    }

    fn subscribed_for(&self) -> Duration {
        self.now.since(self.subscribed_at)
    }

    /// Returns the age after which a sample is stale.
    fn stale_after(&self) -> Duration {
        self.config.interval * STALE_INTERVALS + self.config.timeout
    }

    /// Returns the time for which the result of a scrape is awaited.
    fn patience(&self) -> Duration {
        self.config.timeout + MARGIN
    }

    /// Returns the time for which the result of the first scrape is awaited.
    fn first_within(&self) -> Duration {
        self.config.timeout + FIRST_MARGIN
    }

    fn no_sample(&self) -> String {
        self.text("no sample yet")
    }

    fn text(&self, problem: &str) -> String {
        format!("{}: {problem}", self.address.url())
    }

    /// Returns the reason why a valid page has no sample.
    fn absent(&self, state: &PageState, measure: &Arc<Measure>) -> Lookup {
        let url = self.address.url();
        if state.is_empty() {
            return Lookup::NoNumber(format!(
                "the page {url} is empty: the server answers, but publishes no metrics there (yet)"
            ));
        }
        if let Some(LabelMismatch { series, wanted, found }) = state.mismatch(measure) {
            let found = found.join(" and ");
            return Lookup::NoNumber(format!(
                "{url} has {series}, but none with the labels of the selector, {wanted}: it has \
                 {found}"
            ));
        }
        let own = self.program.profile().display;
        let looks_like = state.looks_like().filter(|other| *other != self.program);
        let hint = match (state.looks_like(), self.program) {
            (Some(other), Program::Engine(_)) if other != self.program => {
                let other = other.profile().display;
                format!(
                    "; it looks like a page of {other}: check the field engine, which is {own}; of \
                     pods with several engines, each engine needs an autoscaler and a workload of \
                     its own"
                )
            }
            (Some(other), Program::Gateway(_)) if other != self.program => {
                let other = other.profile().display;
                format!(
                    "; it looks like a page of {other}: check podSelector and the field gateway, \
                     which is {own}"
                )
            }
            (None, program) if program != Program::Engine(Engine::Custom) => {
                format!(", and no other series of {own}")
            }
            (Some(_), Program::Gateway(gateway)) => format!("; {}", gateway.profile().missing),
            _ => String::new(),
        };
        let instead = match state.hint(measure) {
            Some(PageHint::Similar(names)) => format!("; the page has {}", names.join(", ")),
            Some(PageHint::Likely(names)) => {
                format!("; its gauges that may tell the load are {}", names.join(", "))
            }
            Some(PageHint::Nothing) | None => String::new(),
        };
        let reason = format!("{url} has no {}{hint}{instead}", measure.recipe.accepted_names());
        match (looks_like, self.program) {
            // A custom program may publish anything, so its page is not of another engine.
            (Some(Program::Engine(engine)), Program::Engine(own)) if own != Engine::Custom => {
                Lookup::OtherEngine { engine, reason }
            }
            _ => Lookup::NoNumber(reason),
        }
    }
}

#[cfg(test)]
mod tests;
