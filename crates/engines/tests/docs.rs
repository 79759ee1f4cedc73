//! `docs/engines.md` is written by this test, from the tables:
//! `UPDATE=1 cargo test -p llm-autoscaler-engines --test docs`.

use std::{
    env,
    fmt::{self, Write},
    fs,
};

use llm_autoscaler_engines::{
    Engine, EngineProfile, Signal, SignalDef, SignalInfo, Standing, Term,
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/engines.md");

const INTRODUCTION: &str = "\
# Engines and their signals

<!-- Generated from crates/engines by `UPDATE=1 cargo test -p llm-autoscaler-engines --test docs`; do not edit. -->

A *signal* is something that engines know about themselves, whatever they call it: `signal: WaitingRequests` in a
spec works across engines, and across the versions of one. `engine` says which series it is read from.
`llm-autoscaler engines` prints these tables; `llm-autoscaler probe URL` reads a page as the operator does and tells
which of them it has.

";

const READING: &str = "
- A **gauge** is the latest value, or with `windowSeconds` the mean over that time. A **counter** is the rate over the
  window, per second (60 s if not given); it may begin again at zero. A **histogram** is the `percentile` (90 if not given) of
  the events of the window (60 s if not given), pooled over all replicas; with too few events there is *no signal*, which is not
  zero: such a metric neither grows the target nor keeps another metric from shrinking it.
- A **target** of type `AverageValue` is compared with the mean over the replicas, one of type `Value` with the value of the service.
  The other type makes no sense for a signal, and is refused.
- Where a signal has **several summands** (`+`), all of them must be on the page. One that is missing makes the signal
  missing for that replica, never smaller.
- Where a summand has **several names**, the first that is on the page counts. They are never added. A *former* name in use is told
  by the condition `Advisory`: the next upgrade takes it away.
- Where a page has **several series** of a name (data-parallel engines, ranks), they become one number for the replica, as the column
  says. Ranks that repeat the same value count once.
- A series that is NaN or infinite is missing. So is everything on a page that is cut off, or is no metrics page.
";

const CLOSING: &str = "
## Any other series

`series` reads a series by its full name (with `_total`, `_count` or the like), from any engine. All series of that
name on a page are added up; `selector.matchLabels` narrows them down. With `engine: Custom` it is the only way.

```yaml
metrics:
- name: queue
  series:
    name: my_server:queue_length
    selector: {matchLabels: {model: qwen3}}
  target: {type: AverageValue, averageValue: \"5\"}
```

A page is Prometheus's text format 0.0.4; what OpenMetrics adds (exemplars, `# EOF`) and quoted UTF-8 names are
understood. Malformed lines of other families do no harm. A series that a page gives twice counts once, by its first
value, as in Prometheus. The last line must be ended by a line feed, as the format demands: otherwise the page counts as
cut off.
";

#[test]
fn the_page_says_what_the_tables_say() {
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
    page + CLOSING
}

fn write_page(page: &mut String) -> fmt::Result {
    page.push_str(
        "| signal | what it says | unit | it is a | target type |\n|---|---|---|---|---|\n",
    );
    for signal in Signal::ALL {
        let SignalInfo { name, doc, unit, kind, .. } = signal.info();
        writeln!(page, "| `{name}` | {doc} | {unit} | {} | `{}` |", kind.name(), kind.target())?;
    }
    page.push_str(READING);
    for engine in Engine::ALL {
        section(page, engine.profile())?;
    }
    Ok(())
}

fn section(page: &mut String, engine: &EngineProfile) -> fmt::Result {
    let EngineProfile {
        name,
        display,
        metrics_path,
        port_names,
        port,
        enabling,
        repeats,
        signals,
        ..
    } = engine;
    writeln!(page, "\n## `engine: {name}`\n")?;
    let ports: Vec<String> = port_names.iter().map(|name| format!("`{name}`")).collect();
    let number = port.map(|port| format!(", its number {port}")).unwrap_or_default();
    let ports = ports.join(" or ");
    writeln!(
        page,
        "For {display}. Its page is `{metrics_path}`; the port is usually called {ports}{number}. {enabling}"
    )?;
    if signals.is_empty() {
        return writeln!(page, "It has no signals: give each metric a `series`.");
    }
    if !repeats.is_empty() {
        let labels: Vec<String> = repeats.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            page,
            "Series that differ only in {} repeat each other, and count once.",
            labels.join(", ")
        )?;
    }
    page.push_str("\n| signal | series | several series |\n|---|---|---|\n");
    for SignalDef { signal, terms, fold } in *signals {
        let terms: Vec<String> = terms.iter().map(term).collect();
        writeln!(page, "| `{}` | {} | {} |", signal.info().name, terms.join(" + "), fold.name())?;
    }
    Ok(())
}

fn term(term: &Term) -> String {
    let name = |name: &llm_autoscaler_engines::Alternative| {
        let labels: Vec<String> =
            name.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let former = if name.standing == Standing::Former { "former, " } else { "" };
        let note =
            if term.0.len() > 1 { format!(" ({former}{})", name.versions) } else { String::new() };
        format!("`{}{labels}`{note}", name.series)
    };
    let names: Vec<String> = term.0.iter().map(name).collect();
    names.join(", else ")
}
