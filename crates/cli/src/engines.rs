//! The subcommand `engines`, which prints the engine tables.

use std::fmt::Write;

use anyhow::bail;
use llm_autoscaler_engines::{
    Alternative, EngineProfile, Program, SignalDef, SignalInfo, Standing, Term,
};

use crate::output::print;

/// The options of `engines`.
#[derive(Debug, clap::Args)]
pub(crate) struct Engines {
    /// The engine or gateway to print, such as VLLM or SMG; all if absent.
    name: Option<String>,
}

impl Engines {
    /// Prints the tables.
    pub(crate) fn print(self) -> anyhow::Result<()> {
        let engines = match &self.name {
            Some(name) => vec![by_name(name)?],
            None => Program::all().collect(),
        };
        let texts: Vec<String> = engines.iter().map(|program| text(*program)).collect();
        print(&texts.join("\n"))
    }
}

/// Returns the engine or gateway of this name, ignoring case.
pub(crate) fn by_name(name: &str) -> anyhow::Result<Program> {
    let found = Program::all().find(|program| program.profile().name.eq_ignore_ascii_case(name));
    let Some(program) = found else {
        let names: Vec<&str> = Program::all().map(|program| program.profile().name).collect();
        bail!("unknown engine {name}; known engines and gateways are {}", names.join(", "));
    };
    Ok(program)
}

/// Returns the sentences about what makes a gateway's numbers differ from what they seem to be.
pub(crate) fn notes(program: Program) -> String {
    let Program::Gateway(gateway) = program else { return String::new() };
    let mut text = String::new();
    for note in gateway.profile().notes {
        let _ = writeln!(text, "  note: {}", note.replace('`', ""));
    }
    text
}

fn text(program: Program) -> String {
    let EngineProfile { name, display, metrics_path, port_names, port, enabling, signals, .. } =
        program.profile();
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
    text + &notes(program)
}

fn line(term: &Term, index: usize, name: &Alternative) -> String {
    let joint = if index > 0 { "else " } else { "" };
    let former = match name.standing {
        Standing::Current => "",
        Standing::Former => "former, ",
        Standing::Preferred => "preferred, ",
    };
    let note =
        if term.0.len() > 1 { format!("  ({former}{})", name.versions) } else { String::new() };
    format!("{joint}{}{note}", name.formula())
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_engines::{Engine, Gateway};

    use super::*;

    #[test]
    fn every_series_of_a_table_is_printed() {
        for program in Program::all() {
            let printed = text(program);
            for def in program.profile().signals {
                assert!(printed.contains(def.signal.info().name), "{printed}");
                for name in def.terms.iter().flat_map(|term| term.0) {
                    assert!(printed.contains(name.series), "{} in {printed}", name.series);
                }
            }
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(by_name("sglang").unwrap(), Engine::Sglang.into());
        assert_eq!(by_name("vllmrouter").unwrap(), Gateway::VllmRouter.into());
        assert!(by_name("ollama").unwrap_err().to_string().contains("VLLM, SGLang, Dynamo"));
    }
}
