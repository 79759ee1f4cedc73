//! Signals: quantities that every engine can be asked for by one name.
//!
//! The table in this file is the only list of them. `docs/engines.md`, and in the resource's schema
//! the allowed names, their description and the rule about the type of their targets, are made of
//! it. To add a signal, add a row here and a [`SignalDef`](crate::SignalDef) to each engine that
//! reports it.

use crate::kind::Kind;

/// The facts about a signal that are the same for every engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// The name in a spec, such as `WaitingRequests`.
    pub name: &'static str,
    /// The name where there is little room, such as `waiting`.
    pub short: &'static str,
    /// The unit, such as `requests`.
    pub unit: &'static str,
    /// A sentence that describes the signal.
    pub doc: &'static str,
    /// The kind of its series, which decides how a number is made of samples.
    pub kind: Kind,
    /// The highest value that it can have, such as 1 for a share; `None` if it has no upper end.
    pub highest: Option<u32>,
}

/// Makes the enum [`Signal`], the list [`Signal::ALL`] and each signal's [`SignalInfo`] of the rows
/// of one table.
///
/// This project avoids macros of its own. Without this one, each signal would be written down four
/// times (a variant, its documentation, an item of `ALL`, an arm of `info`), and no compiler would
/// notice a signal that is missing in `ALL` or described in two ways.
macro_rules! signals {
    ($(#[doc = $doc:literal] $name:ident: $kind:ident, $short:literal, $unit:literal
        $(, up to $highest:literal)?;)+) => {
        /// A quantity that inference engines report about themselves.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Signal {
            $(#[doc = $doc] $name,)+
        }

        impl Signal {
            /// Every signal, in the order of the documentation.
            pub const ALL: [Self; TABLE.len()] = [$(Self::$name,)+];
        }

        /// The rows, in the order of the variants.
        const TABLE: &[SignalInfo] = &[$(SignalInfo {
            name: stringify!($name),
            short: $short,
            unit: $unit,
            doc: $doc.trim_ascii(),
            kind: Kind::$kind,
            highest: [$(Some($highest),)? None][0],
        },)+];
    };
}

signals! {
    /// Requests in the queue.
    WaitingRequests: Gauge, "waiting", "requests";
    /// Requests in the running batch.
    RunningRequests: Gauge, "running", "requests";
    /// Running and waiting requests: a measure of demand that has no upper end.
    InFlightRequests: Gauge, "in-flight", "requests";
    /// The share of the KV cache that is in use.
    KVCacheUsage: Gauge, "kv", "share, 0 to 1", up to 1;
    /// Completed requests.
    RequestRate: Counter, "requests/s", "requests/s";
    /// Requests that arrive at a gateway, refused ones included: the signal that wakes a target.
    ArrivalRate: Counter, "arrivals/s", "requests/s";
    /// Prompt tokens.
    PromptTokenRate: Counter, "prompt tok/s", "tokens/s";
    /// Generated tokens.
    GenerationTokenRate: Counter, "gen tok/s", "tokens/s";
    /// Requests that lost their place in the batch because the KV cache was full.
    PreemptionRate: Counter, "preempted/s", "requests/s";
    /// From a request's arrival to its first token.
    TimeToFirstToken: Histogram, "ttft", "seconds";
    /// Between two generated tokens of one request.
    InterTokenLatency: Histogram, "itl", "seconds";
    /// From a request's arrival to its start.
    QueueTime: Histogram, "queue time", "seconds";
    /// From a request's arrival to its last token.
    RequestLatency: Histogram, "latency", "seconds";
    /// Requests of a prefill replica that wait for their transfer to a decode replica or are in it.
    PrefillHandoverRequests: Gauge, "prefill handover", "requests";
    /// Requests of a decode replica that wait for memory or for their KV cache to arrive.
    DecodeHandoverRequests: Gauge, "decode handover", "requests";
}

impl Signal {
    /// Returns the signal's row of the table.
    pub const fn info(self) -> &'static SignalInfo {
        &TABLE[self as usize]
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

    #[test]
    fn every_share_ends_at_1_and_nothing_else_ends() {
        for info in Signal::ALL.map(Signal::info) {
            assert_eq!(info.highest, info.unit.starts_with("share").then_some(1), "{}", info.name);
        }
    }

    #[test]
    fn a_signal_is_called_by_its_variant() {
        for signal in Signal::ALL {
            assert_eq!(signal.info().name, format!("{signal:?}"));
        }
    }
}
