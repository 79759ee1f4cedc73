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
}

/// How one engine gives one signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalDef {
    /// Which signal.
    pub signal: Signal,
    /// Its name in a spec, such as `WaitingRequests`.
    pub name: &'static str,
    /// Its name where there is little room, such as `waiting`.
    pub short: &'static str,
    /// What one unit of it is, such as `requests`.
    pub unit: &'static str,
    /// What it says, in a sentence.
    pub doc: &'static str,
    /// The summands. One that is absent makes the signal absent: half a sum would look like little load.
    pub terms: &'static [Term],
    /// How several series of one family on one page become one number, per term.
    pub fold: Fold,
    /// The target types that make sense for it.
    pub targets: &'static [TargetType],
}

/// One summand of a signal: the names that a series has had, the newest first.
///
/// The first that a page has counts. Versions on the way of a rename publish both, so they are never added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term(pub &'static [Alternative]);

/// The name of a series in some versions of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// The series.
    pub series: &'static str,
    /// The versions that publish it, for people.
    pub versions: &'static str,
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

/// A target of a type that makes no sense for a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signal {} takes a target of type {}, not {given}", .signal.name, allowed(.signal))]
pub struct TargetError {
    /// The signal.
    pub signal: &'static SignalDef,
    /// The type that was asked for.
    pub given: TargetType,
}

impl SignalDef {
    /// How its number comes out of a page.
    pub fn recipe(&self) -> Recipe {
        let selector = |alternative: &Alternative| Selector::new(alternative.series, []);
        let terms = self.terms.iter().map(|term| term.0.iter().map(selector).collect());
        Recipe::new(terms.collect(), self.fold)
    }

    /// Whether a target of type `given` makes sense.
    ///
    /// # Errors
    /// It does not; the text names what is allowed.
    pub fn check_target(&'static self, given: TargetType) -> Result<(), TargetError> {
        if self.targets.contains(&given) { Ok(()) } else { Err(TargetError { signal: self, given }) }
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

fn allowed(signal: &SignalDef) -> String {
    let names: Vec<String> = signal.targets.iter().map(ToString::to_string).collect();
    names.join(" or ")
}

#[cfg(test)]
mod tests {
    use crate::{Engine, Signal, TargetType};

    #[test]
    fn a_target_that_makes_no_sense_is_refused_by_name() {
        let waiting = Engine::Vllm.profile().signal(Signal::WaitingRequests).unwrap();
        assert_eq!(waiting.check_target(TargetType::AverageValue), Ok(()));
        let error = waiting.check_target(TargetType::Value).unwrap_err();
        assert_eq!(
            error.to_string(),
            "signal WaitingRequests takes a target of type AverageValue, not Value"
        );
    }
}
