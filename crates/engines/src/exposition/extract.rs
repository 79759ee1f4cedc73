//! The results of reading a page.

use super::{contradiction::Contradiction, not_finite::NotFinite};
use crate::buckets::Buckets;

/// The result of one recipe, from a page or from a Prometheus server's response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extract {
    /// The quantity.
    pub value: Value,
    /// The index of the first term that was not found under the first of its names, and the index
    /// of the name that was found; both from 0.
    pub alternative: Option<(usize, usize)>,
    /// A term was found under a former name as well, with a different value.
    pub ambiguous: bool,
    /// The page's `# TYPE` of one of the series, if it is of another kind. The value is as on the
    /// page, and means something else than the recipe's quantity.
    pub contradiction: Option<Contradiction>,
    /// The series that makes the value absent, if one is NaN or infinite.
    pub not_finite: Option<NotFinite>,
}

/// A quantity at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// The quantity is missing, or is not there in full.
    #[default]
    Absent,
    /// The value of a gauge or a counter.
    Number(f64),
    /// The cumulative counts of a histogram.
    Buckets(Buckets),
}

impl Value {
    /// Returns the memory of the value, in bytes: its own, and that of its buckets.
    pub fn memory(&self) -> usize {
        let buckets = if let Self::Buckets(buckets) = self { buckets.bounds().len() } else { 0 };
        size_of::<Self>() + buckets * size_of::<(f64, f64)>()
    }
}

/// Counts of the lines of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageSummary {
    /// Samples, wanted or not.
    pub samples: usize,
    /// Comments: `# HELP`, `# TYPE`, `# EOF` and any other.
    pub comments: usize,
    /// Malformed lines of families that no recipe wants. They do no harm.
    pub skipped_malformed: usize,
    /// Samples of wanted series that are NaN or infinite.
    pub not_finite: usize,
    /// Samples of wanted series that repeat an earlier one of the page.
    pub duplicates: usize,
}

impl PageSummary {
    /// Returns true if the page has neither samples nor comments. A page without any malformed
    /// line is an empty page then.
    pub const fn is_empty(&self) -> bool {
        self.samples == 0 && self.comments == 0
    }
}
