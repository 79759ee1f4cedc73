//! Compares what our reader of metrics pages and Prometheus's parsers read on damaged pages. It is
//! run by `tests/parser/run.sh`.
//!
//! ```text
//! parser compare ORACLE PAGES SEED    compares random pages, and counts the known differences
//! parser cases ORACLE COUNT SEED      prints small pages with the oracle's answers
//! parser check FILE                   compares such pages again, without the oracle
//! ```

mod answers;
mod cases;
mod compare;
mod lines;
mod model;
mod mutate;
mod oracle;
mod pages;
mod random;
mod report;

use std::{env, error::Error, process::ExitCode};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let is_good = match arguments[..] {
        ["compare", oracle, pages, seed] => report::compare(oracle, pages.parse()?, seed.parse()?)?,
        ["cases", oracle, count, seed] => report::cases(oracle, count.parse()?, seed.parse()?)?,
        ["check", path] => report::check(path)?,
        _ => {
            return Err(
                "usage: parser compare ORACLE PAGES SEED | cases ORACLE COUNT SEED | check FILE"
                    .into(),
            );
        }
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
