//! Writes `docs/engines.md` from the tables, and checks that it is up to date:
//! `UPDATE=1 cargo test -p llm-autoscaler-engines --test docs`.

use std::{
    env,
    fmt::{self, Write},
    fs,
};

use llm_autoscaler_engines::{
    Alternative, Engine, EngineProfile, Gateway, GatewayProfile, IdleRule, Kind, ProgressDef,
    Signal, SignalDef, SignalInfo, Standing, Term, UnfitSeries,
};

/// The width of prose.
const COLUMNS: usize = 100;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/engines.md");

const INTRODUCTION: &str = "\
# Engines and their signals

<!-- Generated from crates/engines; do not edit. To write it:
`UPDATE=1 cargo test -p llm-autoscaler-engines --test docs` -->

A *signal* is a quantity that engines report about themselves, by one name for all of them: `signal:
WaitingRequests` in a spec works for every engine that has it, and for every version of one.
`engine` selects the series that it is read from. `llm-autoscaler engines` prints these tables;
`llm-autoscaler probe URL` reads a page as the operator does and lists the signals that it has.

";

const READING: &str = "
- A **gauge** is the latest value, or with `windowSeconds` the mean over that time. A **counter** is
  the rate per second over the window (60 s by default); it may restart at zero. A **histogram** is
  the `percentile` (90 by default) of the events of the window (60 s by default), pooled over all
  replicas. With too few events there is *no value*, which is not zero: such a metric neither scales
  the target up nor keeps another metric from scaling it down.
- A **target** of type `AverageValue` is compared with the mean over the replicas, one of type
  `Value` with the value of the service. Each signal allows only the type that makes sense for it.
  A share takes a target of 0 to 1: 0.8 is 80 %, and 80 is refused.
- If a signal has **several summands** (`+`), all of them must be on the page. One that is missing
  makes the signal missing for that replica, never smaller. The exception are series that an engine
  does not publish before its first request, by the rules below the tables: they are 0, and a
  histogram has no events. **LMDeploy** needs no rule, because all of its series are there from the
  start. **SGLang** has its gauges after the request that it warms up with, or after 30 idle
  seconds, and its counters and latencies after that request. **TensorRT-LLM** has its gauges after
  the first iteration, and the rest when the first request ends; no series of either tells a page
  without a request from one whose first request is still running, so what is absent is missing.
- If a summand has **several names**, the first that is on the page counts. They are never added. If
  a *former* name is in use, the condition `Advisory` reports it, because the next upgrade takes the
  name away. A *preferred* name counts before the others.
- A name with a colon is also read with an **underscore** in its place, as routers and collectors of
  OpenTelemetry write it (`vllm_num_requests_waiting`, `sglang_num_queue_reqs`); vLLM's names also
  with `ray_` before them, as Ray Serve publishes them.
- If a page has **several series** of a name (data-parallel engines, ranks), they become one number
  for the replica by the rule in the column \"several series\". Ranks that repeat a value count once.
- An engine that has requests and answers none is **wedged**: for five minutes its counters of
  tokens or steps have stood still, and so have its running requests and its KV cache
  (`Advisory=EngineWedged`, [conditions.md](conditions.md)). Below each table is by which counters.
- A series that is NaN or infinite is missing, unless a rank repeats it with a number; series of
  other labels than the wanted ones do no harm. So is everything on a page that is cut off or is not
  a metrics page.
";

const GATEWAYS: &str = "
## Gateways

A gateway in front of the engines reports for the whole target: as a source with `podSelector` and
`gateway` ([sources.md](sources.md#gateways)). Its signals are read from its own series, those of
the target's pods from the engine's. `ArrivalRate` counts requests as they arrive, refused ones
included, so it wakes a target that has no replica ([targets.md](targets.md#to-zero-and-back)).
";

const CLOSING: &str = "
## Any other series

`series` reads a series by its full name (with `_total`, `_count` or the like), from any engine. All
series of that name on a page are added up; `selector` selects some of them, by `matchLabels` and
`matchExpressions` (`In`, `NotIn`, `Exists`, `DoesNotExist`). With `engine: Custom` it is the only
way.

Its kind is that of `type`. Without one, a metric with a `percentile` is a histogram, a name that
ends in `_total`, `_count` or `_sum` is a counter, one that ends in `_bucket` a histogram (a single
bucket, selected by `le`, a counter), and any other a gauge. A page whose `# TYPE` line says
otherwise has no sample, from any source, and the text says which type it has: a total that is read
as a gauge would ask for the maximum of replicas. The same goes for the series of signals, after an
upgrade of the engine for example. A Prometheus server tells no types: there the name decides.

A series that is not on the page is missing, because empty is not zero. Some programs publish a
series only once something has happened: a router without a request since its start has no gauge of
requests in flight. With `absent: Zero` a series that is not on a page counts as 0, if the page is a
metrics page and has anything on it; an empty page, one that is cut off, and one that does not
answer never give a 0. It is for gauges and counters, on pages that are scraped: in a Prometheus
server an absent series stays missing, because nothing there tells a page without it from no page. A
misspelled name or label is 0 for ever then, so look first: `llm-autoscaler probe URL --series NAME`.

```yaml fragment=LLMAutoscaler/spec
metrics:
- name: queue
  series:
    name: my_server:queue_length
    selector: {matchLabels: {model: qwen3}}
  target: {type: AverageValue, averageValue: \"5\"}
```

A page is in Prometheus's text format 0.0.4; the additions of OpenMetrics (exemplars, `# EOF`) and
quoted UTF-8 names are read too. Malformed lines of other families do no harm. A series that a page
repeats counts once, by its first value, as in Prometheus. The last line must end with a line feed,
which the format requires: otherwise the page counts as cut off.
";

#[test]
fn the_document_is_up_to_date_with_the_tables() {
    let page = page();
    if env::var_os("UPDATE").is_some() {
        fs::write(PATH, &page).unwrap();
    }
    let found = fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        found == page,
        "docs/engines.md differs from the tables: run this test with UPDATE=1 and commit the page"
    );
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    write_page(&mut page).expect("a string can be written to");
    wrap(&(page + CLOSING))
}

/// Wraps the prose of a page; tables and code stay as they are.
fn wrap(page: &str) -> String {
    let mut wrapped = String::with_capacity(page.len());
    let mut is_code = false;
    for line in page.lines() {
        is_code ^= line.starts_with("```");
        let is_prose = !is_code && !line.starts_with(['|', '#', '<']);
        let width = if is_prose { COLUMNS } else { usize::MAX };
        let indent = if line.starts_with("- ") { "  " } else { "" };
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            if column > 0 && column + word.trim_end().chars().count() > width {
                wrapped.truncate(wrapped.trim_end_matches(' ').len());
                wrapped.push('\n');
                wrapped.push_str(indent);
                column = indent.len();
            }
            wrapped.push_str(word);
            column += word.chars().count();
        }
        wrapped.push('\n');
    }
    wrapped
}

fn write_page(page: &mut String) -> fmt::Result {
    page.push_str("| signal | meaning | unit | kind | target type |\n|---|---|---|---|---|\n");
    for signal in Signal::ALL {
        let SignalInfo { name, doc, unit, kind, .. } = signal.info();
        writeln!(page, "| `{name}` | {doc} | {unit} | {} | `{}` |", kind.name(), kind.target())?;
    }
    page.push_str(READING);
    for engine in Engine::ALL {
        section(page, "engine", engine.profile())?;
        writeln!(page, "\n{}", wedged(engine.profile()))?;
        writeln!(page, "\n{}", step(engine.profile()))?;
    }
    page.push_str(GATEWAYS);
    for gateway in Gateway::ALL {
        let GatewayProfile { table, holds_requests, versions, notes, unfit, .. } =
            gateway.profile();
        section(page, "gateway", table)?;
        let held = if *holds_requests { "holds" } else { "does not hold" };
        writeln!(page, "\nVersions: {versions}. It {held} requests while there is no replica.")?;
        for note in *notes {
            writeln!(page, "- {note}")?;
        }
        for UnfitSeries { series, why, .. } in *unfit {
            writeln!(page, "- Do not name `{series}` as a `series`: it {why}.")?;
        }
    }
    Ok(())
}

fn section(page: &mut String, field: &str, engine: &EngineProfile) -> fmt::Result {
    let EngineProfile {
        name,
        display,
        metrics_path,
        port_names,
        port,
        enabling,
        repeat_labels,
        signals,
        idle_rules,
        ..
    } = engine;
    let level = if field == "gateway" { "###" } else { "##" };
    writeln!(page, "\n{level} `{field}: {name}`\n")?;
    let ports: Vec<String> = port_names.iter().map(|name| format!("`{name}`")).collect();
    let number = port.map(|port| format!(", its number {port}")).unwrap_or_default();
    let ports = ports.join(" or ");
    writeln!(
        page,
        "For {display}. Its page is `{metrics_path}`; the port is usually called {ports}{number}. {enabling}"
    )?;
    if signals.is_empty() {
        return writeln!(page, "It has no signals: each metric needs a `series`.");
    }
    if !repeat_labels.is_empty() {
        let labels: Vec<String> = repeat_labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            page,
            "Series that differ only in {} repeat each other and count once.",
            labels.join(", ")
        )?;
    }
    page.push_str("\n| signal | series | several series |\n|---|---|---|\n");
    for SignalDef { signal, terms, fold } in *signals {
        let terms: Vec<String> = terms.iter().map(term).collect();
        writeln!(page, "| `{}` | {} | {} |", signal.info().name, terms.join(" + "), fold.name())?;
    }
    for rule in *idle_rules {
        writeln!(page, "\n{}", idle(rule))?;
    }
    Ok(())
}

/// Describes by which counters an engine that answers no requests is found, if it is.
fn wedged(engine: &EngineProfile) -> String {
    let Some(ProgressDef { counters, at_end, missing }) = engine.progress else {
        return "If it is wedged, it is not found: none of its series is known to grow while a \
                request is answered."
            .to_owned();
    };
    let mut names: Vec<String> = Vec::new();
    for name in counters.iter().flat_map(|term| term.0) {
        let name = format!("`{}`", name.formula());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let last = names.pop().expect("an engine with progress has a counter");
    let (counters, verb, it_grows) = match &names[..] {
        [] => (last, "stands", "It grows"),
        others => (format!("{} and {last}", others.join(", ")), "stand", "They grow"),
    };
    let mut sentences =
        vec![format!("If it is wedged, it is found by {counters}, which {verb} still.")];
    if at_end {
        sentences.push(format!(
            "{it_grows} only when a request ends, so it is found only while its page has \
             `KVCacheUsage`."
        ));
    }
    sentences.extend((!missing.is_empty()).then(|| missing.to_owned()));
    sentences.join(" ")
}

/// Describes by which series the time of the engine's step is learned, if it is.
fn step(engine: &EngineProfile) -> String {
    let step = match engine.step {
        Ok(step) => step,
        Err(lacking) => {
            return format!(
                "With `slo` its requests in flight decide, since the time of its step cannot be \
                 learned: {lacking}."
            );
        }
    };
    let terms = [
        step.steps,
        step.prompt_tokens,
        step.cached_tokens,
        step.generated_tokens,
        step.first_tokens,
        step.finished,
        step.time_per_token,
        step.kv_capacity,
    ];
    let names: Vec<String> = terms.iter().map(|it| format!("`{}`", it.0[0].formula())).collect();
    let [others @ .., last] = &names[..] else { return String::new() };
    format!(
        "With `slo` ([slo.md](slo.md)) the time of its step is learned from {} and {last}, beside \
         `RunningRequests`, `WaitingRequests`, `KVCacheUsage`, `QueueTime` and `TimeToFirstToken`.",
        others.join(", ")
    )
}

/// Describes the pages on which absent series are 0.
fn idle(rule: &IdleRule) -> String {
    let IdleRule { signals, zero, present, without, prefix } = rule;
    let list = |series: &[Alternative]| {
        let names: Vec<String> = series.iter().map(|name| alternative(name, true)).collect();
        names.join(", ")
    };
    let named = |histograms: bool| {
        let of_kind = signals.iter().map(|signal| signal.info());
        let of_kind = of_kind.filter(|info| (info.kind == Kind::Histogram) == histograms);
        let names: Vec<String> = of_kind.map(|info| format!("`{}`", info.name)).collect();
        names.join(", ")
    };
    let (numbers, histograms) = (named(false), named(true));
    let events = match &*histograms {
        "" => String::new(),
        some => format!(", and {some} have no events,"),
    };
    let mut conditions = Vec::new();
    if !zero.is_empty() {
        conditions.push(format!("has {} at 0", list(zero)));
    }
    if !present.is_empty() {
        conditions.push(format!("has {}", list(present)));
    }
    if let Some(prefix) = prefix {
        conditions.push(format!("has a sample or a comment of a family `{prefix}…`"));
    }
    if !without.is_empty() {
        conditions.push(format!("has no {}", list(without)));
    }
    let conditions = conditions.join(", and ");
    let when = if present.is_empty() { "Before the first request, " } else { "" };
    let verb = if rule.signals.len() == 1 { "is" } else { "are" };
    format!("{when}{numbers} {verb} 0{events} where absent: on a page that {conditions}.")
}

fn term(term: &Term) -> String {
    let is_alone = term.0.len() == 1;
    let names: Vec<String> = term.0.iter().map(|name| alternative(name, is_alone)).collect();
    names.join(", else ")
}

fn alternative(name: &Alternative, is_alone: bool) -> String {
    let former = match name.standing {
        Standing::Current => "",
        Standing::Former => "former, ",
        Standing::Preferred => "preferred, ",
    };
    let note = if is_alone { String::new() } else { format!(" ({former}{})", name.versions) };
    format!("`{}`{note}", name.formula())
}
