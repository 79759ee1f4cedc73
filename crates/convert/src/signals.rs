//! Series of engines by their names: which engine has them, and which of its signals they are.

use llm_autoscaler_engines::{Alternative, Engine, Kind, Signal, SignalDef};

/// Returns whether a name alone is the quantity: without a divisor, and without labels that select
/// a part of its series. A label without a value selects the total.
fn is_whole(alternative: &Alternative) -> bool {
    let Alternative { labels, except, less, per, over, .. } = alternative;
    let is_total = labels.iter().all(|(_, value)| value.is_empty()) && except.is_empty();
    is_total && *less == 0 && *per == 1 && over.is_none()
}

/// Returns the signal of an engine that is the sum of these series.
pub(crate) fn signal(engine: Engine, names: &[String], kind: Kind) -> Option<&'static SignalDef> {
    let has = |def: &&SignalDef| {
        let is_its = |name: &String| {
            let name = kind.selected_name(name);
            def.terms.iter().any(|term| term.0.iter().any(|it| it.series == name && is_whole(it)))
        };
        def.signal.info().kind == kind && def.terms.len() == names.len() && names.iter().all(is_its)
    };
    let is_twice = names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
    engine.profile().signals.iter().filter(|_| !is_twice).find(has)
}

/// Returns whether a name begins as those of a known engine do. Only such names are taken for an
/// engine's.
pub(crate) fn has_prefix(name: &str) -> bool {
    by_prefix(name).is_some()
}

/// Returns the engine that a name begins with.
pub(crate) fn by_prefix(name: &str) -> Option<Engine> {
    // A prefix that is a whole name could be that of any program's series.
    let is_its = |prefix: &&str| prefix.ends_with([':', '_']) && name.starts_with(*prefix);
    Engine::ALL.into_iter().find(|engine| engine.profile().prefixes.iter().any(is_its))
}

/// Returns the engine that an expression has a series of.
pub(crate) fn within(expression: &str) -> Option<Engine> {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    expression.split(|c| !is_inner(c)).find_map(by_prefix)
}

/// Returns the full name of a series that is written without its engine's prefix, as `AIBrix` does.
pub(crate) fn full_name(name: &str) -> String {
    let prefixes = ["vllm:", "sglang:", "trtllm_"].map(|prefix| format!("{prefix}{name}"));
    let is_known = |name: &String| Engine::ALL.into_iter().any(|it| is_named(it, name));
    prefixes.into_iter().find(is_known).unwrap_or_else(|| name.to_owned())
}

/// Returns all names of series of all engines.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let defs = Engine::ALL.into_iter().flat_map(|engine| engine.profile().signals);
    defs.flat_map(|def| def.terms).flat_map(|term| term.0).map(|name| name.series)
}

fn is_named(engine: Engine, name: &str) -> bool {
    let defs = engine.profile().signals.iter();
    defs.flat_map(|def| def.terms).flat_map(|term| term.0).any(|known| known.series == name)
}

/// Returns whether an engine's series of this name is a signal.
pub(crate) fn is_known(name: &str) -> bool {
    let names = [name.to_owned()];
    let kinds = [Kind::Gauge, Kind::Counter, Kind::Histogram];
    has_prefix(name)
        && Engine::ALL
            .into_iter()
            .any(|engine| kinds.into_iter().any(|kind| signal(engine, &names, kind).is_some()))
}

/// Returns a signal's name as that of a metric, such as `in-flight-requests`.
pub(crate) fn metric_name(signal: Signal) -> String {
    let mut text = String::new();
    let name = signal.info().name;
    let is_upper = |at: usize| name[at..].starts_with(|c: char| c.is_ascii_uppercase());
    for (at, c) in name.char_indices() {
        let begins = at > 0 && is_upper(at) && (!is_upper(at - 1) || !is_upper_or_end(name, at));
        if begins {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// Returns whether the letter after this one is a capital, or there is none.
fn is_upper_or_end(name: &str, at: usize) -> bool {
    name[at + 1..].chars().next().is_none_or(|c| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_signals_of_their_engine() {
        for (engine, names, kind, expected) in [
            (Engine::Vllm, "vllm:num_requests_waiting", Kind::Gauge, Some(Signal::WaitingRequests)),
            (
                Engine::Vllm,
                "vllm:num_requests_waiting vllm:num_requests_running",
                Kind::Gauge,
                Some(Signal::InFlightRequests),
            ),
            (
                Engine::Vllm,
                "vllm:num_requests_waiting vllm:num_requests_waiting",
                Kind::Gauge,
                None,
            ),
            (Engine::Sglang, "sglang:num_queue_reqs", Kind::Gauge, Some(Signal::WaitingRequests)),
            (Engine::Sglang, "vllm:num_requests_waiting", Kind::Gauge, None),
            // A part of the series: those of one mode.
            (Engine::Sglang, "sglang:realtime_tokens_total", Kind::Counter, None),
            (
                Engine::Vllm,
                "vllm:time_to_first_token_seconds_bucket",
                Kind::Histogram,
                Some(Signal::TimeToFirstToken),
            ),
            (Engine::Vllm, "vllm:num_requests_waiting", Kind::Counter, None),
        ] {
            let list: Vec<String> = names.split(' ').map(str::to_owned).collect();
            let found = signal(engine, &list, kind).map(|def| def.signal);
            assert_eq!(found, expected, "{names}");
        }
    }

    #[test]
    fn names_are_told_by_their_prefix() {
        assert_eq!(within("sum(rate(sglang:x_total[1m]))"), Some(Engine::Sglang));
        assert_eq!(within("sum(http_requests_total)"), None);
        assert_eq!(full_name("gpu_cache_usage_perc"), "vllm:gpu_cache_usage_perc");
        assert_eq!(full_name("token_usage"), "sglang:token_usage");
        assert_eq!(full_name("anything"), "anything");
        assert!(is_known("vllm:num_requests_waiting") && !is_known("vllm:other"));
        assert!(!is_known("time_to_first_token_seconds"));
    }

    #[test]
    fn metrics_are_called_by_their_signal() {
        for (signal, expected) in [
            (Signal::InFlightRequests, "in-flight-requests"),
            (Signal::KVCacheUsage, "kv-cache-usage"),
            (Signal::QueueTime, "queue-time"),
        ] {
            assert_eq!(metric_name(signal), expected);
        }
    }
}
