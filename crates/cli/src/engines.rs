//! The subcommand `engines`, which prints the engine tables.

use std::fmt::Write;

use anyhow::bail;
use llm_autoscaler_engines::{
    Alternative, Engine, EngineProfile, SignalDef, SignalInfo, Standing, Term,
};

/// The options of `engines`.
#[derive(Debug, clap::Args)]
pub(crate) struct Engines {
    /// The engine to print, such as VLLM or SGLang; all if absent.
    name: Option<String>,
}

impl Engines {
    /// Prints the tables.
    pub(crate) fn print(self) -> anyhow::Result<()> {
        let engines = match &self.name {
            Some(name) => vec![by_name(name)?],
            None => Engine::ALL.to_vec(),
        };
        let texts: Vec<String> = engines.iter().map(|engine| text(engine.profile())).collect();
        print!("{}", texts.join("\n"));
        Ok(())
    }
}

/// Returns the engine of this name, ignoring case.
pub(crate) fn by_name(name: &str) -> anyhow::Result<Engine> {
    let found =
        Engine::ALL.into_iter().find(|engine| engine.profile().name.eq_ignore_ascii_case(name));
    let Some(engine) = found else {
        let names: Vec<&str> = Engine::ALL.iter().map(|engine| engine.profile().name).collect();
        bail!("unknown engine {name}; known engines are {}", names.join(", "));
    };
    Ok(engine)
}

fn text(engine: &EngineProfile) -> String {
    let EngineProfile { name, display, metrics_path, port_names, port, enabling, signals, .. } =
        engine;
    let number = port.map(|port| format!(", {port}")).unwrap_or_default();
    let mut text =
        format!("{name}: {display}; {metrics_path} on port {}{number}\n", port_names.join(" or "));
    if !enabling.is_empty() {
        let _ = writeln!(text, "  {}", enabling.replace('`', ""));
    }
    for SignalDef { signal, terms, fold } in *signals {
        let SignalInfo { name, kind, .. } = signal.info();
        let mut lines = terms
            .iter()
            .flat_map(|term| term.0.iter().enumerate().map(|(index, n)| line(term, index, n)));
        let first = lines.next().unwrap_or_default();
        let _ = writeln!(text, "  {name:<24} {:<10} {:<8} {first}", kind.name(), fold.name());
        for line in lines {
            let _ = writeln!(text, "  {:<44} {line}", "");
        }
    }
    text
}

fn line(term: &Term, index: usize, name: &Alternative) -> String {
    let labels: Vec<String> =
        name.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let labels =
        if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let joint = if index > 0 { "else " } else { "" };
    let former = match name.standing {
        Standing::Current => "",
        Standing::Former => "former, ",
        Standing::Preferred => "preferred, ",
    };
    let note =
        if term.0.len() > 1 { format!("  ({former}{})", name.versions) } else { String::new() };
    format!("{joint}{}{labels}{note}", name.series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_a_table_is_printed() {
        for engine in Engine::ALL {
            let printed = text(engine.profile());
            for def in engine.profile().signals {
                assert!(printed.contains(def.signal.info().name), "{printed}");
                for name in def.terms.iter().flat_map(|term| term.0) {
                    assert!(printed.contains(name.series), "{} in {printed}", name.series);
                }
            }
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(by_name("sglang").unwrap(), Engine::Sglang);
        assert!(by_name("ollama").unwrap_err().to_string().contains("VLLM, SGLang, Dynamo"));
    }
}
