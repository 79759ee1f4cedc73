//! What a page has instead of an absent measure.

use llm_autoscaler_engines::{Recipe, exposition::LabelMismatch, likely_gauges, similar_names};

/// The number of gauges that a hint names.
const LIKELY_SHOWN: usize = 5;

/// What a page has instead of an absent measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instead {
    /// The series of the measure with other labels than those of its selector.
    pub(crate) mismatch: Option<LabelMismatch>,
    /// Other series that may be meant.
    pub(crate) hint: PageHint,
}

/// The series of a page that an absent measure may have to be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PageHint {
    /// Names that resemble those of the measure.
    Similar(Vec<String>),
    /// Gauges that may tell the load, on a page of an unknown program.
    Likely(Vec<String>),
    /// There are none.
    Nothing,
}

impl Instead {
    /// Looks for it on a page. `is_known` is true if the page resembles that of a known program. A
    /// page keeps its names, so a hint is looked for once.
    pub(crate) fn find(page: &[u8], recipe: &Recipe, is_known: bool, former: Option<Self>) -> Self {
        let hint =
            former.map_or_else(|| PageHint::of(page, recipe, is_known), |former| former.hint);
        Self { mismatch: LabelMismatch::find(page, recipe), hint }
    }
}

impl PageHint {
    fn of(page: &[u8], recipe: &Recipe, is_known: bool) -> Self {
        let similar = similar_names(page, recipe);
        if !similar.is_empty() {
            return Self::Similar(similar);
        }
        if is_known {
            return Self::Nothing;
        }
        let likely = likely_gauges(page).into_iter().take(LIKELY_SHOWN);
        let likely: Vec<String> = likely.map(|gauge| gauge.name).collect();
        if likely.is_empty() { Self::Nothing } else { Self::Likely(likely) }
    }
}
