//! The `llm-autoscaler` binary: the command line, and the texts that its subcommands print.
//! Decisions are made by the crates below it.

// These macros panic if the reader of the output has gone away; `output` does not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod bill;
mod cluster;
mod convert;
mod election;
mod engines;
mod explain;
mod external_scaler;
mod logging;
mod metrics_api;
mod migrate;
mod one_line;
mod outlook;
mod output;
mod probe;
mod replay;
mod simulate;
mod source_credentials;
mod traces;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::{Args, Command},
    cluster::with_cluster,
};

/// The allocator. That of glibc keeps much of what has been freed, and that of musl has one lock
/// for all threads (docs/performance.md has the figures).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Run(run) => run.run(),
        Command::Crd => args::print_crd(),
        Command::Engines(engines) => engines.print(),
        Command::Probe(probe) => with_cluster(probe.probe()),
        Command::Evaluate(evaluate) => evaluate.evaluate(),
        Command::Bill(bill) => with_cluster(bill.bill()),
        Command::Simulate(simulate) => simulate.simulate(),
        Command::Replay(replay) => replay.replay(),
        Command::Explain(explain) => with_cluster(explain.explain()),
        Command::Convert(convert) => match convert.convert() {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Command::Migrate(migrate) => with_cluster(migrate.migrate()),
        Command::Ui(ui) => with_cluster(ui.serve()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            ExitCode::FAILURE
        }
    }
}
