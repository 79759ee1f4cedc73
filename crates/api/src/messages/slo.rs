//! The texts of a size that keeps a promise.

use std::fmt::Write;

use llm_autoscaler_core::slo::{Binding, Lengths, SloHold, SloSize};

/// Returns the sentence that explains a size: the requirement that one replica fewer fails, and the
/// load that it follows from. Example: `n=7: at 6 p99 ITL would be 93 ms > 88 ms, 54 ms in the mean
/// (41 req/s, 1150 in, 210 out)`.
pub fn promised_size(size: &SloSize) -> String {
    let SloSize { needed, binding, arrivals, lengths, .. } = size;
    // A role that prefills has no answers, one that decodes computes no prompts.
    let is_prefill = lengths.output == 0.0;
    let mut text = match why(*binding, is_prefill) {
        Some(why) => format!("n={needed}: at {} {why}", needed.saturating_sub(1)),
        None => format!("n={needed}: one replica keeps the promise"),
    };
    let rate = short(*arrivals);
    let Lengths { prompt, computed, output } = lengths;
    let _ = if is_prefill {
        write!(text, " ({rate} req/s, {computed:.0} uncached of {prompt:.0} in)")
    } else {
        write!(text, " ({rate} req/s, {prompt:.0} in, {output:.0} out)")
    };
    let added = (1.0 + size.trend) * (1.0 + size.headroom) - 1.0;
    if added >= 0.005 {
        let _ = write!(text, "; {:.0} % more are expected", 100.0 * added);
    }
    if size.replaced > 0 {
        let _ = write!(text, "; {} more for those that are clogged or stuck", size.replaced);
    }
    if let Some(burst) = size.burst {
        let _ = write!(
            text,
            "; a burst: {} are ordered until {} are healthy, which {} are",
            burst.ordered, burst.needed, burst.healthy
        );
    }
    match size.held {
        Some(SloHold::Window) => {
            let _ = write!(text, "; {} were needed lately", size.replicas);
        }
        Some(SloHold::Samples) => {
            text.push_str("; too few replicas have a fresh sample to remove any");
        }
        Some(SloHold::Turns) => {
            let _ = write!(text, "; {} stay after many turns within an hour", size.replicas);
        }
        None => {}
    }
    text
}

/// Returns the requirement that one replica fewer fails; `None` if there is none.
fn why(binding: Binding, is_prefill: bool) -> Option<String> {
    let milliseconds = |seconds: f64| format!("{:.0} ms", 1000.0 * seconds);
    let seconds = |seconds: f64| format!("{} s", short(seconds));
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let tokens = |tokens: f64| format!("{tokens:.0} tokens");
    Some(match binding {
        Binding::InterTokenLatency { predicted, limit, mean } => {
            let [predicted, limit, mean] = [predicted, limit, mean].map(milliseconds);
            format!("p99 ITL would be {predicted} > {limit}, {mean} in the mean")
        }
        Binding::TimeToFirstToken { predicted, limit } => {
            let [predicted, limit] = [predicted, limit].map(seconds);
            let of = if is_prefill { "p99 TTFT" } else { "TTFT of a mean prompt" };
            format!("{of} would be {predicted} > {limit}")
        }
        Binding::Utilization { predicted, limit } => {
            format!("utilization would be {} > {}", percent(predicted), percent(limit))
        }
        Binding::KvCache { predicted, limit } => {
            format!("the KV cache would hold {} > {}", tokens(predicted), tokens(limit))
        }
        Binding::Sequences { predicted, limit } => {
            format!("a batch would have {predicted:.0} > {limit:.0} sequences")
        }
        Binding::Fewest => return None,
    })
}

/// Returns a number with two significant digits, or as a whole number from 10 on.
pub fn short(number: f64) -> String {
    if number >= 10.0 {
        return format!("{number:.0}");
    }
    let text = if number >= 1.0 { format!("{number:.1}") } else { format!("{number:.2}") };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_core::slo::{Burst, Margins, StepTime};

    use super::*;

    fn size(binding: Binding) -> SloSize {
        SloSize {
            replicas: 7,
            needed: 7,
            binding,
            arrivals: 41.2,
            trend: 0.0,
            headroom: 0.0,
            lengths: Lengths { prompt: 1_150.0, computed: 900.0, output: 210.0 },
            model: StepTime {
                base: 0.017,
                per_prompt_token: 0.0,
                per_sequence: 0.0,
                per_kv_token: 0.0,
            },
            margins: Margins { latency: 0.7, utilization: 0.8 },
            replaced: 0,
            burst: None,
            held: None,
        }
    }

    #[test]
    fn a_size_is_explained_by_what_one_replica_fewer_fails() {
        let load = "(41 req/s, 1150 in, 210 out)";
        let table = [
            (
                Binding::InterTokenLatency { predicted: 0.093, limit: 0.088, mean: 0.054 },
                "n=7: at 6 p99 ITL would be 93 ms > 88 ms, 54 ms in the mean",
            ),
            (
                Binding::TimeToFirstToken { predicted: 2.31, limit: 2.0 },
                "n=7: at 6 TTFT of a mean prompt would be 2.3 s > 2 s",
            ),
            (
                Binding::Utilization { predicted: 0.84, limit: 0.8 },
                "n=7: at 6 utilization would be 84 % > 80 %",
            ),
            (
                Binding::KvCache { predicted: 250_000.0, limit: 240_000.0 },
                "n=7: at 6 the KV cache would hold 250000 tokens > 240000 tokens",
            ),
            (
                Binding::Sequences { predicted: 120.4, limit: 108.8 },
                "n=7: at 6 a batch would have 120 > 109 sequences",
            ),
            (Binding::Fewest, "n=7: one replica keeps the promise"),
        ];
        for (binding, expected) in table {
            assert_eq!(promised_size(&size(binding)), format!("{expected} {load}"));
        }
    }

    #[test]
    fn a_role_that_prefills_is_sized_by_uncached_tokens() {
        let binding = Binding::TimeToFirstToken { predicted: 2.31, limit: 2.0 };
        let lengths = Lengths { prompt: 1_150.0, computed: 900.0, output: 0.0 };
        let text = promised_size(&SloSize { lengths, ..size(binding) });
        let expected =
            "n=7: at 6 p99 TTFT would be 2.3 s > 2 s (41 req/s, 900 uncached of 1150 in)";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_more_than_needed_is_said() {
        let burst = Burst { work: 9.0, expected: 3.0, needed: 12, healthy: 4, ordered: 30 };
        let size = SloSize {
            replicas: 30,
            trend: 0.1,
            headroom: 0.1,
            replaced: 2,
            burst: Some(burst),
            held: Some(SloHold::Samples),
            ..size(Binding::Fewest)
        };
        let text = promised_size(&size);
        let (_, more) = text.split_once("out)").unwrap();
        assert_eq!(
            more,
            "; 21 % more are expected; 2 more for those that are clogged or stuck; a burst: 30 are \
             ordered until 12 are healthy, which 4 are; too few replicas have a fresh sample to \
             remove any"
        );
        let size = SloSize { held: Some(SloHold::Window), burst: None, ..size };
        assert!(promised_size(&size).ends_with("; 30 were needed lately"));
        let size = SloSize { held: Some(SloHold::Turns), ..size };
        assert!(promised_size(&size).ends_with("; 30 stay after many turns within an hour"));
    }

    #[test]
    fn a_short_number_has_two_digits() {
        for (number, expected) in
            [(0.0, "0"), (0.354, "0.35"), (0.3, "0.3"), (1.0, "1"), (2.34, "2.3"), (412.7, "413")]
        {
            assert_eq!(short(number), expected);
        }
    }
}
