//! Signals: what can be asked of every engine, whatever it calls it.

use std::fmt;

use crate::{Recipe, Selector};

/// A quantity that engines know about themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Requests in the queue.
    WaitingRequests,
    /// Requests that are being answered.
    RunningRequests,
    /// Both of these: an unbounded measure of demand.
    InFlightRequests,
    /// The share of the KV cache that is in use, 0 to 1.
    KvCacheUsage,
    /// Requests answered per second.
    RequestRate,
    /// Tokens of prompts per second.
    PromptTokenRate,
    /// Tokens generated per second.
    GenerationTokenRate,
    /// Requests per second that lost their place in the batch.
    PreemptionRate,
    /// From a request's arrival to its first token (TTFT).
    TimeToFirstToken,
    /// Between two tokens of an answer (ITL).
    InterTokenLatency,
    /// From a request's arrival to its start.
    QueueTime,
    /// From a request's arrival to its last token.
    RequestLatency,
    /// Requests between prefill and decode, on the prefill side.
    PrefillHandoverRequests,
    /// Requests between prefill and decode, on the decode side.
    DecodeHandoverRequests,
}

/// What is known of a signal, whichever engine gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// Its name in a spec, such as `WaitingRequests`.
    pub name: &'static str,
    /// Its name where there is little room, such as `waiting`.
    pub short: &'static str,
    /// What one unit of it is, such as `requests`.
    pub unit: &'static str,
    /// What it says, in a sentence.
    pub doc: &'static str,
    /// What its series are, and so what is made of them over a window.
    pub kind: Kind,
}

/// What the series of a quantity are, and so what a number is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// They go up and down: the latest value, or the mean over a window.
    Gauge,
    /// They only grow: the rate over a window, per second.
    Counter,
    /// Counts of events by size: a quantile of those of a window, pooled over the replicas.
    Histogram,
}

/// How one engine gives one signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalDef {
    /// Which signal.
    pub signal: Signal,
    /// The summands. One that is absent makes the signal absent: half a sum would look like little load.
    pub terms: &'static [Term],
    /// How several series of one family on one page become one number, per term.
    pub fold: Fold,
}

/// One summand of a signal: the names that a series has had, the newest first.
///
/// The first that a page has counts. Versions on the way of a rename publish both, so they are never added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term(pub &'static [Alternative]);

/// The name of a series in some versions of an engine, or on one of its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// The series; of a histogram without `_bucket`.
    pub series: &'static str,
    /// Labels that it must have.
    pub labels: &'static [(&'static str, &'static str)],
    /// Who publishes it, for people: versions, or a page.
    pub versions: &'static str,
    /// How it stands to the names before it.
    pub standing: Standing,
}

/// How an alternative stands to the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// As good as any: another page or another backend of the same engine.
    Current,
    /// A former name: whoever upgrades will lose it.
    Former,
}

/// How several series of one family on the page of one replica become one number.
///
/// A replica has several where it runs data-parallel engines or publishes for each rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fold {
    /// They are parts of a whole: requests.
    Sum,
    /// They say the same, or the worst of them counts.
    Max,
    /// They are shares of parts of equal size: the result is the share of the whole.
    Mean,
}

/// How a target is meant, in the words of `autoscaling/v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetType {
    /// The mean over the replicas is kept at the target.
    AverageValue,
    /// The value as it is; it belongs to the service, not to a replica.
    Value,
}

impl Signal {
    /// Every signal, in the order of the documentation.
    pub const ALL: [Self; 14] = [
        Self::WaitingRequests,
        Self::RunningRequests,
        Self::InFlightRequests,
        Self::KvCacheUsage,
        Self::RequestRate,
        Self::PromptTokenRate,
        Self::GenerationTokenRate,
        Self::PreemptionRate,
        Self::TimeToFirstToken,
        Self::InterTokenLatency,
        Self::QueueTime,
        Self::RequestLatency,
        Self::PrefillHandoverRequests,
        Self::DecodeHandoverRequests,
    ];

    /// What is known of it.
    pub const fn info(self) -> &'static SignalInfo {
        macro_rules! info {
            ($kind:ident, $name:literal, $short:literal, $unit:literal, $doc:literal) => {
                &SignalInfo {
                    name: $name,
                    short: $short,
                    unit: $unit,
                    doc: $doc,
                    kind: Kind::$kind,
                }
            };
        }
        match self {
            Self::WaitingRequests => {
                info!(Gauge, "WaitingRequests", "waiting", "requests", "Requests in the queue.")
            }
            Self::RunningRequests => {
                info!(
                    Gauge,
                    "RunningRequests", "running", "requests", "Requests in the running batch."
                )
            }
            Self::InFlightRequests => info!(
                Gauge,
                "InFlightRequests",
                "in-flight",
                "requests",
                "Running and waiting requests: a measure of demand that has no upper end."
            ),
            Self::KvCacheUsage => info!(
                Gauge,
                "KVCacheUsage", "kv", "share, 0 to 1", "The share of the KV cache that is in use."
            ),
            Self::RequestRate => {
                info!(Counter, "RequestRate", "requests/s", "requests/s", "Requests answered.")
            }
            Self::PromptTokenRate => {
                info!(Counter, "PromptTokenRate", "prompt tok/s", "tokens/s", "Tokens of prompts.")
            }
            Self::GenerationTokenRate => {
                info!(Counter, "GenerationTokenRate", "gen tok/s", "tokens/s", "Tokens generated.")
            }
            Self::PreemptionRate => info!(
                Counter,
                "PreemptionRate",
                "preempted/s",
                "requests/s",
                "Requests that lost their place in the batch because the KV cache was full."
            ),
            Self::TimeToFirstToken => info!(
                Histogram,
                "TimeToFirstToken",
                "ttft",
                "seconds",
                "From a request's arrival to its first token."
            ),
            Self::InterTokenLatency => {
                info!(
                    Histogram,
                    "InterTokenLatency", "itl", "seconds", "Between two tokens of an answer."
                )
            }
            Self::QueueTime => {
                info!(
                    Histogram,
                    "QueueTime", "queue time", "seconds", "From a request's arrival to its start."
                )
            }
            Self::RequestLatency => info!(
                Histogram,
                "RequestLatency",
                "latency",
                "seconds",
                "From a request's arrival to its last token."
            ),
            Self::PrefillHandoverRequests => info!(
                Gauge,
                "PrefillHandoverRequests",
                "prefill handover",
                "requests",
                "Requests of a prefill replica that wait for, or are on, their way to a decode replica."
            ),
            Self::DecodeHandoverRequests => info!(
                Gauge,
                "DecodeHandoverRequests",
                "decode handover",
                "requests",
                "Requests of a decode replica that wait for memory, or for their KV cache to arrive."
            ),
        }
    }
}

impl Kind {
    /// The target type that makes sense for a quantity of this kind: what adds up over replicas has a mean of them,
    /// a pooled quantile is a value of the service.
    pub const fn target(self) -> TargetType {
        match self {
            Self::Gauge | Self::Counter => TargetType::AverageValue,
            Self::Histogram => TargetType::Value,
        }
    }

    /// Its name, as it is written in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

impl SignalDef {
    /// How its number comes out of a page. `repeats` are labels by which an engine repeats a series.
    pub fn recipe(&self, repeats: &[&str]) -> Recipe {
        let labels = |alternative: &Alternative| {
            alternative.labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        };
        let selector = |alternative: &Alternative| Selector {
            standing: alternative.standing,
            ..Selector::new(alternative.series, labels(alternative))
        };
        let terms = self.terms.iter().map(|term| term.0.iter().map(selector).collect());
        Recipe::new(self.signal.info().kind, terms.collect(), self.fold)
            .repeated_by(repeats.iter().map(|label| (*label).to_owned()))
    }

    /// The former name of a series that `term` and `alternative` stand for, beside the one that has taken its place.
    pub fn former(&self, term: usize, alternative: usize) -> Option<(&'static str, &'static str)> {
        let names = self.terms.get(term)?.0;
        let used = names.get(alternative)?;
        (used.standing == Standing::Former).then_some((used.series, names[0].series))
    }
}

impl Alternative {
    /// A name that all versions publish.
    pub const fn always(series: &'static str) -> Self {
        Self::current(series, "all")
    }

    /// A name that these versions, or this page, publish.
    pub const fn current(series: &'static str, versions: &'static str) -> Self {
        Self { series, labels: &[], versions, standing: Standing::Current }
    }

    /// A name that only older versions publish.
    pub const fn former(series: &'static str, versions: &'static str) -> Self {
        Self { series, labels: &[], versions, standing: Standing::Former }
    }

    /// The same name where somebody else publishes it.
    #[must_use]
    pub const fn of(self, versions: &'static str) -> Self {
        Self { versions, ..self }
    }

    /// Only series with these labels.
    #[must_use]
    pub const fn with(self, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { labels, ..self }
    }
}

impl Fold {
    /// Its name, as it is written in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Max => "maximum",
            Self::Mean => "mean",
        }
    }
}

impl fmt::Display for TargetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AverageValue => "AverageValue",
            Self::Value => "Value",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_signal_has_a_name_of_its_own() {
        let names: HashSet<_> = Signal::ALL.iter().map(|signal| signal.info().name).collect();
        let shorts: HashSet<_> = Signal::ALL.iter().map(|signal| signal.info().short).collect();
        assert_eq!((names.len(), shorts.len()), (Signal::ALL.len(), Signal::ALL.len()));
    }
}
