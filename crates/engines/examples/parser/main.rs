//! Damaged pages, read by our reader and by Prometheus's parsers; `tests/parser/run.sh` is the way to run it.
//!
//! ```text
//! parser compare ORACLE PAGES SEED    compares, and counts what differs for a reason that has a name
//! parser cases ORACLE COUNT SEED      prints small pages with the oracle's answers
//! parser check FILE                   compares these once more, without the oracle, as the test `parser` does
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
