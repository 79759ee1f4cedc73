//! The answers of all sources at one moment, which are the input of an observation.

use std::{borrow::Cow, time::Duration};

use llm_autoscaler_engines::{Engine, exposition::Value};

use crate::pod::Members;

/// The answers of all sources of one target, in the order of failover.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// One entry per source of the spec.
    pub sources: Vec<SourceSamples>,
}

/// The answers of one source.
#[derive(Clone, Debug)]
pub struct SourceSamples {
    /// The source.
    pub kind: SourceKind,
    /// True while the source is scraped or queried. A source after the first one is active only
    /// while it is needed.
    pub is_active: bool,
    /// For each metric of the spec, the answers by pod: those of the target's reporting pods, or of
    /// the pods of [`SourceKind::OtherPods`], in the order of their names. Empty for a metric that
    /// is a query, and if the source is not active.
    pub metrics: Vec<Vec<Lookup>>,
    /// For each metric of the spec that is a query, the answer of a Prometheus server. `None` for
    /// other metrics and other sources.
    pub queries: Vec<Option<QueryLookup>>,
    /// The number of requests of each reporting pod, if scale-downs drain.
    pub requests: Vec<Lookup>,
    /// The durations of requests of each reporting pod. Empty if they are not needed.
    pub latency: Vec<Lookup>,
    /// The number of awake engine processes in each reporting pod, and then the number of those
    /// that sleep. Both are empty if the engine does not expose them.
    pub sleep: [Vec<Lookup>; 2],
    /// The numbers that tell if the engine of each reporting pod makes progress.
    pub vitals: VitalLookups,
    /// The numbers by which the engine of each reporting pod is learned, in the order of
    /// [`SloMeasures::all`](llm_autoscaler_api::SloMeasures::all). Empty without `slo`.
    pub slo: Vec<Vec<Lookup>>,
    /// The requests that each of the gateway's pods holds and no replica has. Empty unless a
    /// promise counts them.
    pub queued: Vec<Lookup>,
}

/// The answers of a source about the progress of each reporting pod's engine, as
/// [`VitalMeasures`](llm_autoscaler_api::VitalMeasures) asks for them. Each is empty if the engine
/// does not expose it.
#[derive(Clone, Debug, Default)]
pub struct VitalLookups {
    /// The number of requests.
    pub requests: Vec<Lookup>,
    /// The rate of the counters of progress.
    pub progress: Vec<Lookup>,
    /// The running requests, and the usage of the KV cache.
    pub gauges: [Vec<Lookup>; 2],
}

impl SourceSamples {
    /// Returns the samples of a source that is not active: none.
    pub fn inactive(kind: SourceKind) -> Self {
        Self {
            kind,
            is_active: false,
            metrics: Vec::new(),
            queries: Vec::new(),
            requests: Vec::new(),
            latency: Vec::new(),
            sleep: Default::default(),
            vitals: VitalLookups::default(),
            slo: Vec::new(),
            queued: Vec::new(),
        }
    }

    /// Returns the answers by pod, of each measure that is read.
    pub(crate) fn lookups(&self) -> impl Iterator<Item = &Vec<Lookup>> {
        let Self { metrics, requests, latency, sleep, vitals, .. } = self;
        let VitalLookups { requests: in_flight, progress, gauges } = vitals;
        let single = [requests, latency, in_flight, progress];
        metrics.iter().chain(single).chain(sleep).chain(gauges)
    }

    /// Returns true if anything of the target's own pods is read.
    pub(crate) fn reads_pods(&self) -> bool {
        self.is_active && self.lookups().any(|lookups| !lookups.is_empty())
    }
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
        /// The seconds that its clock is ahead of the operator's; `None` if it sends no time.
        clock_ahead: Option<f64>,
        /// The warning of its latest answer about pods.
        warning: Option<String>,
    },
}

impl SourceKind {
    /// Returns the name of the source in conditions and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::OwnPods => "scrape",
            Self::OtherPods(_) => "others",
            Self::Prometheus { .. } => "prometheus",
        }
    }

    /// Returns true if the source has one value per reporting pod of the target.
    pub fn is_per_pod(&self) -> bool {
        !matches!(self, Self::OtherPods(_))
    }
}

/// The answer of a source about one measure of one pod.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The source has a sample.
    Sample(Sample),
    /// The first answer is still due, so that it is too early to call the sample missing.
    Pending {
        /// The error of the latest scrape, if it failed. The sample counts as missing then where
        /// only samples beyond doubt are admitted.
        error: Option<String>,
    },
    /// The source has no usable sample, for this reason. The latest one may be too old.
    Missing(String),
    /// The source answers about the pod, and has no usable number, for this reason: its series is
    /// absent or NaN. The number counts as missing, and the pod as one that answers.
    NoNumber(String),
    /// The source answers about the pod, and lacks a series that some versions and pages of the
    /// engine never have, which needs no explanation. The number counts as missing, and the pod
    /// as one that answers.
    NoSeries,
    /// The source has samples of several pods under this pod's name, such as those of another
    /// cluster. None of them is a number of the pod, so that it counts as missing. The text says in
    /// which label they differ, and is an advice.
    Ambiguous(String),
    /// The source has the series, and says that it is of another kind, for this reason. No other
    /// source is asked about the pod: a Prometheus server would have the same number, and no types.
    Contradicted(String),
    /// The pod's page has no sample, and is one of another engine than the spec's.
    OtherEngine {
        /// The engine that the page is of.
        engine: Engine,
        /// The reason why there is no sample.
        reason: String,
    },
}

/// A value of one measure of one pod.
#[derive(Clone, Debug)]
pub struct Sample {
    /// A number, or the events of a window.
    pub value: Value,
    /// The time since it was scraped.
    pub age: Duration,
    /// The reason why the sample is in doubt: it is not of the latest scrape, or less than half of
    /// its window is known. A sample in doubt may scale up or keep the size, but not scale down.
    /// `None` if it is beyond doubt.
    pub doubt: Option<Cow<'static, str>>,
    /// The way in which the series was found.
    pub found: Found,
    /// The number of scrape jobs, or addresses, that have the sample; normally 1.
    pub copies: usize,
}

/// The way in which a series was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The place of the name in use, as in `Extract::alternative` of the engines crate.
    pub alternative: Option<(usize, usize)>,
    /// True if two names have different values, as in `Extract::ambiguous` of the engines crate.
    pub ambiguous: bool,
}

/// The answer of a Prometheus server to a query of the spec.
#[derive(Clone, Debug)]
pub enum QueryLookup {
    /// The server has answered.
    Numbers {
        /// One number per series of the answer. Empty if the query matches nothing.
        numbers: Vec<f64>,
        /// The time since the answer.
        age: Duration,
        /// The first warning of the answer.
        warning: Option<String>,
        /// True if the latest attempt was answered, without a warning.
        complete: bool,
    },
    /// The first answer is still due.
    Pending,
    /// There is no answer, for this reason.
    Missing(String),
}

/// The doubt about a sample of which less than half of its window is known. It is no text of its
/// own: each of hundreds of pods has it at each step of the first minutes.
pub const YOUNG: &str = "too few samples so far for a scale-down";
/// The reason why [`Lookup::NoSeries`] has no number.
pub const NO_SERIES: &str = "it has no such series, as some versions of the engine";

/// The samples that an observation rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// All samples that are not stale.
    Usable,
    /// Samples beyond doubt only.
    BeyondDoubt,
}

impl Lookup {
    /// Returns true if the source has an answer about the pod, with or without a usable number.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::Sample(_)
            | Self::NoNumber(_)
            | Self::NoSeries
            | Self::Ambiguous(_)
            | Self::Contradicted(_)
            | Self::OtherEngine { .. } => true,
            Self::Pending { .. } | Self::Missing(_) => false,
        }
    }

    /// Returns the answer under this evidence. A sample that the evidence does not admit is
    /// missing.
    pub(crate) fn admitted(&self, evidence: Evidence) -> Answer<'_> {
        match (self, evidence) {
            (Self::Sample(Sample { doubt: Some(doubt), .. }), Evidence::BeyondDoubt) => {
                Answer::Missing(doubt)
            }
            (Self::Pending { error: Some(error) }, Evidence::BeyondDoubt) => Answer::Missing(error),
            (Self::Sample(sample), _) => Answer::Sample(sample),
            (Self::Pending { .. }, _) => Answer::Pending,
            (
                Self::Missing(reason)
                | Self::NoNumber(reason)
                | Self::Ambiguous(reason)
                | Self::OtherEngine { reason, .. },
                _,
            ) => Answer::Missing(reason),
            (Self::NoSeries, _) => Answer::Missing(NO_SERIES),
            (Self::Contradicted(reason), _) => Answer::Contradicted(reason),
        }
    }
}

/// An answer that the evidence admits.
pub(crate) enum Answer<'a> {
    Sample(&'a Sample),
    Pending,
    Missing(&'a str),
    Contradicted(&'a str),
}

impl Sample {
    /// Returns true if the sample is beyond doubt, so that it may scale down.
    pub fn is_certain(&self) -> bool {
        self.doubt.is_none()
    }
}
