//! The modes of the oracle in `tests/conformance`, which answers the same cases with the HPA's own
//! code, so that the two can be compared. Resource metrics (CPU, memory) are not supported.
//!
//! Cases have the fields and defaults of `tests/conformance/oracle/types.go`: times are ages in
//! seconds, metric values and targets are in thousandths.

mod behavior;
mod calculator;
mod history;
mod pods;
mod scenario;
mod settings;
mod spec;
mod status;
mod timeline;
mod world;

use llm_autoscaler_core::Profile;
use serde::Deserialize;

use self::{
    behavior::BehaviorCase, calculator::CalculatorCase, history::HistoryCase,
    scenario::TimelineCase, settings::SettingsCase,
};
use crate::evaluate::{
    answer::{Answer, Unsupported},
    header::Header,
};

/// The modes.
pub(super) const MODES: [&str; 9] = [
    "calc",
    "timeline",
    "rules",
    "rate",
    "limit_up",
    "limit_down",
    "stabilize",
    "stabilize_behavior",
    "store_event",
];
/// The mode of the oracle's cases about resource metrics, which are answered as not supported.
const RESOURCE_METRICS: &str = "group_pods";

/// Returns true if a case may have this mode. One without a mode is about the calculator.
pub(super) fn is_mode(mode: &str) -> bool {
    mode.is_empty() || mode == RESOURCE_METRICS || MODES.contains(&mode)
}

/// A case of the oracle: the parts of all modes, each of which is read from the same object.
#[derive(Debug, Default)]
pub(super) struct Case {
    header: Header,
    settings: SettingsCase,
    history: HistoryCase,
    calculator: CalculatorCase,
    behavior: BehaviorCase,
    timeline: TimelineCase,
}

impl Case {
    /// Reads a case. Fields of other modes are checked too, as the oracle checks them.
    ///
    /// # Errors
    /// The first error in the text.
    pub(super) fn read(text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut parts = Parts { text, errors: Vec::new() };
        let case = Self {
            header: parts.read(),
            settings: parts.read(),
            history: parts.read(),
            calculator: parts.read(),
            behavior: parts.read(),
            timeline: parts.read(),
        };
        parts.first_error().map_or(Ok(case), Err)
    }

    /// Answers the case.
    pub(super) fn answer(&self, profile: Profile) -> Answer {
        self.supported(profile).unwrap_or_else(Answer::from).with_id(&self.header.id)
    }

    fn supported(&self, profile: Profile) -> Result<Answer, Unsupported> {
        let Self { header, settings, history, calculator, behavior, timeline } = self;
        match header.mode.as_str() {
            "" | "calc" => calculator::answer(calculator, settings, profile).map(Answer::of),
            "timeline" => timeline::answer(timeline, history, settings, profile),
            mode => behavior::answer(behavior, mode, history, settings, profile).map(Answer::of),
        }
    }
}

/// The text of a case while its parts are read, and the errors so far.
struct Parts<'t> {
    text: &'t [u8],
    errors: Vec<serde_json::Error>,
}

impl<'t> Parts<'t> {
    fn read<T: Deserialize<'t> + Default>(&mut self) -> T {
        serde_json::from_slice(self.text).unwrap_or_else(|error| {
            self.errors.push(error);
            T::default()
        })
    }

    /// Returns the error that is the first in the text. If the text ends within a field, all parts
    /// fail there: one or two that read the field, with the error to report, and those that skip
    /// it.
    fn first_error(self) -> Option<serde_json::Error> {
        let place = |error: &serde_json::Error| (error.line(), error.column());
        let texts: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
        let count = |text: &String| texts.iter().filter(|other| *other == text).count();
        let errors = self.errors.into_iter().zip(&texts);
        let first = errors.min_by_key(|(error, text)| (place(error), count(text)));
        first.map(|(error, _)| error)
    }
}
