//! Generates random conformance cases and compares the answers to them. `tests/conformance/run.sh`
//! runs it together with the oracle.
//!
//! ```text
//! conformance generate SEED CASES TIMELINES > cases    prints random cases, one per line
//! conformance deviations CASES                         counts the differences of the Default
//!                                                      profile from the HPA, by deviation
//! conformance compare CASES WANT GOT                   prints differing answers, and how often
//!                                                      each branch was reached
//! ```

mod behavior;
mod branches;
mod calculator;
mod compare;
mod deviations;
mod matching;
mod random;
mod scenes;
#[cfg(test)]
mod tables;
mod timelines;

use std::{
    env,
    error::Error,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    process::ExitCode,
};

use serde_json::Value;

use random::Random;

const USAGE: &str = "usage: conformance generate SEED CASES TIMELINES | deviations CASES | \
                     compare CASES WANT GOT";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let is_good = match arguments[..] {
        ["generate", seed, cases, timelines] => {
            generate(seed.parse()?, cases.parse()?, timelines.parse()?)?;
            true
        }
        ["deviations", cases] => deviations::count(lines(cases)?)?,
        ["compare", cases, want, got] => {
            compare::compare(lines(cases)?, lines(want)?, lines(got)?)?
        }
        _ => {
            return Err(USAGE.into());
        }
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn generate(seed: u64, cases: usize, timelines: usize) -> io::Result<()> {
    let mut random = Random::new(seed);
    let mut out = BufWriter::new(io::stdout().lock());
    for index in 0..cases + timelines {
        let generator = if index >= cases {
            random.one_of(&[
                timelines::timeline,
                timelines::timeline,
                timelines::timeline,
                scenes::zero,
                scenes::restless,
            ])
        } else {
            random.one_of(&[calculator::calculator, behavior::behavior])
        };
        let mut case = generator(&mut random);
        case["id"] = format!("{seed}/{index}").into();
        writeln!(out, "{case}")?;
    }
    out.flush()
}

fn lines(path: &str) -> io::Result<io::Lines<BufReader<File>>> {
    Ok(BufReader::new(File::open(path)?).lines())
}

/// Removes the parts of a timeline's answer that are not compared: the HPA's rendering of
/// quantities, and its memory, which only some cases request.
fn comparable(mut answer: Value) -> Value {
    for step in answer.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(step) = step.as_object_mut() {
            step.remove("current_metrics");
            step.remove("state");
        }
    }
    answer
}
