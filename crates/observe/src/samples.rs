//! The answers of all sources at one moment: the input of an observation.

use std::time::Duration;

use llm_autoscaler_engines::exposition::Value;

use crate::pod::Members;

/// The answers of all sources of a plan, in the order of failover.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// One entry per source of the plan.
    pub sources: Vec<SourceSamples>,
}

/// The answers of one source.
#[derive(Clone, Debug)]
pub struct SourceSamples {
    /// The source.
    pub kind: SourceKind,
    /// True while the source is scraped or queried. A source after the first is only while it is needed.
    pub is_active: bool,
    /// For each metric of the plan, an answer per pod: per reporting pod of the target, or per pod of
    /// [`SourceKind::OtherPods`]. Empty for a metric that is a query, and for a source that is not active.
    pub metrics: Vec<Vec<Lookup>>,
    /// For each metric of the plan that is a query, the answer of a Prometheus server; `None` elsewhere.
    pub queries: Vec<Option<QueryLookup>>,
    /// The requests of each reporting pod, where scale-downs drain.
    pub requests: Vec<Lookup>,
    /// How long requests take, per reporting pod, where somebody asks.
    pub latency: Vec<Lookup>,
}

/// A kind of source.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// The metrics pages of the target's own pods.
    OwnPods,
    /// The metrics pages of other pods, which report for the target as a whole.
    OtherPods(Members),
    /// A Prometheus server.
    Prometheus {
        /// Its URL, without credentials.
        url: String,
        /// How many seconds its clock is ahead of the operator's; `None` where it does not say.
        clock_ahead: Option<f64>,
        /// The warning that came with its latest answer about pods.
        warning: Option<String>,
    },
}

impl SourceKind {
    /// The name of the source in conditions and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::OwnPods => "scrape",
            Self::OtherPods(_) => "others",
            Self::Prometheus { .. } => "prometheus",
        }
    }

    /// True for a source that has one value per reporting pod of the target.
    pub fn is_per_pod(&self) -> bool {
        !matches!(self, Self::OtherPods(_))
    }
}

/// The answer to a question about one measure of one pod.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A value.
    Sample(Sample),
    /// The first answer is still due, so nothing is missing yet.
    Pending {
        /// The error of the latest scrape, where it failed: then nothing beyond doubt is pending.
        error: Option<String>,
    },
    /// No value, for this reason.
    Missing(String),
}

/// A value of one measure of one pod.
#[derive(Clone, Debug)]
pub struct Sample {
    /// A number, or the events of a window.
    pub value: Value,
    /// The time since it was scraped.
    pub age: Duration,
    /// Why the sample is in doubt: it is not of the latest scrape, or less than half of its window is known. A sample in
    /// doubt is good enough to grow by, or to stay. `None` where it is beyond doubt.
    pub doubt: Option<String>,
    /// How the series was found.
    pub found: Found,
    /// How many scrape jobs, or addresses, have the sample, where that is known; 1 where all is well.
    pub copies: usize,
}

/// How a series was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// See `Extract::alternative` in the engines crate.
    pub alternative: Option<(usize, usize)>,
    /// See `Extract::ambiguous` in the engines crate.
    pub ambiguous: bool,
}

/// The answer of a Prometheus server to a query of the spec.
#[derive(Clone, Debug)]
pub enum QueryLookup {
    /// Numbers, one per series; none where the query gives nothing.
    Numbers {
        /// The numbers.
        numbers: Vec<f64>,
        /// The time since the answer.
        age: Duration,
        /// A warning of the server.
        warning: Option<String>,
        /// True where the latest attempt was answered, and without a warning.
        complete: bool,
    },
    /// The first answer is still due.
    Pending,
    /// No answer, for this reason.
    Missing(String),
}

/// Which samples an observation rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// All samples that are not stale.
    Usable,
    /// Only samples beyond doubt.
    BeyondDoubt,
}

impl Lookup {
    /// The answer with those samples left out that the evidence does not allow.
    pub(crate) fn admitted(&self, evidence: Evidence) -> Answer<'_> {
        match (self, evidence) {
            (Self::Sample(Sample { doubt: Some(doubt), .. }), Evidence::BeyondDoubt) => {
                Answer::Missing(doubt)
            }
            (Self::Pending { error: Some(error) }, Evidence::BeyondDoubt) => Answer::Missing(error),
            (Self::Sample(sample), _) => Answer::Sample(sample),
            (Self::Pending { .. }, _) => Answer::Pending,
            (Self::Missing(reason), _) => Answer::Missing(reason),
        }
    }
}

/// A lookup as the evidence admits it.
pub(crate) enum Answer<'a> {
    Sample(&'a Sample),
    Pending,
    Missing(&'a str),
}

impl Sample {
    /// True where the sample is good enough to shrink by.
    pub fn is_certain(&self) -> bool {
        self.doubt.is_none()
    }
}
