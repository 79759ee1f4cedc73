//! The `llm-autoscaler` binary: a command line over the crates, without logic of its own.

mod args;
mod engines;
mod explain;
mod probe;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Run(run) => run.run(),
        Command::Crd => args::print_crd(),
        Command::Engines(engines) => engines.print(),
        Command::Probe(probe) => args::with_cluster(probe.probe()),
        Command::Evaluate(evaluate) => evaluate.evaluate(),
        Command::Explain(explain) => args::with_cluster(explain.explain()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("llm-autoscaler: {error:#}");
            ExitCode::FAILURE
        }
    }
}
