//! `docs/engines.md` is written by this test, from the tables:
//! `UPDATE=1 cargo test -p llm-autoscaler-engines --test docs`.

use std::{
    env,
    fmt::{self, Write},
    fs,
};

use llm_autoscaler_engines::{Engine, EngineProfile, SignalDef, Term};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/engines.md");

const INTRODUCTION: &str = "\
# Engines and their signals

<!-- Generated from crates/engines by `UPDATE=1 cargo test -p llm-autoscaler-engines --test docs`; do not edit. -->

A *signal* is something that every engine knows about itself, whatever it calls it: `signal: WaitingRequests` in a
spec works across engines, and across the versions of one. `engine` says which series it is read from.

- Where a signal has **several summands** (`+`), all of them must be on the page. One that is missing makes the signal
  missing for that replica, never smaller.
- Where a summand has **several names**, the first that is on the page counts. They are never added.
- Where a page has **several series** of a name (data-parallel engines, ranks), they are folded into one number for the
  replica, as the column says.
- A series that is NaN or infinite is missing. So is everything on a page that is cut off, or is no metrics page.
- A **target** of type `AverageValue` is compared with the mean over the replicas. Each signal here is a number per
  replica, so `Value` is refused.
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
    for engine in Engine::ALL {
        section(&mut page, engine.profile()).expect("a string can be written to");
    }
    page + CLOSING
}

fn section(page: &mut String, engine: &EngineProfile) -> fmt::Result {
    let EngineProfile { name, display, metrics_path, port_names, signals } = engine;
    writeln!(page, "\n## `engine: {name}`\n")?;
    let ports: Vec<String> = port_names.iter().map(|name| format!("`{name}`")).collect();
    let ports = ports.join(" or ");
    writeln!(page, "For {display}. Its page is `{metrics_path}`; the port is usually called {ports}.")?;
    if signals.is_empty() {
        return writeln!(page, "It has no signals: give each metric a `series`.");
    }
    page.push_str(
        "\n| signal | what it says | unit | series | folded by | target types |\n|---|---|---|---|---|---|\n",
    );
    for signal in *signals {
        let SignalDef { name, doc, unit, fold, .. } = signal;
        let terms: Vec<String> = signal.terms.iter().map(term).collect();
        let targets: Vec<String> = signal.targets.iter().map(|target| format!("`{target}`")).collect();
        let (terms, fold, targets) = (terms.join(" + "), fold.name(), targets.join(", "));
        writeln!(page, "| `{name}` | {doc} | {unit} | {terms} | {fold} | {targets} |")?;
    }
    Ok(())
}

fn term(term: &Term) -> String {
    if let [only] = term.0 {
        return format!("`{}`", only.series);
    }
    let names: Vec<String> =
        term.0.iter().map(|name| format!("`{}` ({})", name.series, name.versions)).collect();
    names.join(", else ")
}
