//! Random conformance cases, and the comparison of two answers to them; `tests/conformance/run.sh` is the way to
//! run it.
//!
//! ```text
//! conformance generate SEED CASES TIMELINES > cases
//! conformance compare CASES WANT GOT
//! ```

mod calculator;
#[path = "../../tests/conformance/matching.rs"]
mod matching;
mod random;
mod timelines;

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    process::ExitCode,
};

use serde_json::Value;

use random::Random;

/// So many differences are shown, and then only counted.
const SHOWN: usize = 5;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["generate", seed, cases, timelines] => {
            generate(seed.parse()?, cases.parse()?, timelines.parse()?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["compare", cases, want, got] => compare(cases, want, got),
        _ => Err("usage: conformance generate SEED CASES TIMELINES | compare CASES WANT GOT".into()),
    }
}

fn generate(seed: u64, cases: usize, timelines: usize) -> io::Result<()> {
    let mut random = Random::new(seed);
    let mut out = BufWriter::new(io::stdout().lock());
    for index in 0..cases + timelines {
        let mut case = if index >= cases {
            timelines::timeline(&mut random)
        } else if random.chance(50) {
            calculator::calculator(&mut random)
        } else {
            calculator::behavior(&mut random)
        };
        case["id"] = format!("{seed}/{index}").into();
        writeln!(out, "{case}")?;
    }
    out.flush()
}

/// Compares line by line, in both directions, and counts by mode.
fn compare(cases: &str, want: &str, got: &str) -> Result<ExitCode, Box<dyn Error>> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut shown = 0;
    let (cases, mut want, mut got) = (lines(cases)?, lines(want)?, lines(got)?);
    for case in cases {
        let case: Value = serde_json::from_str(&case?)?;
        let answer = |lines: &mut io::Lines<BufReader<File>>| -> Result<Value, Box<dyn Error>> {
            let line = lines.next().ok_or("fewer answers than cases")??;
            Ok(comparable(serde_json::from_str(&line)?))
        };
        let (want, got) = (answer(&mut want)?, answer(&mut got)?);
        let same = matching::matches(&want, &got) && matching::matches(&got, &want);
        let kind = case["kind"].as_str().unwrap_or_default();
        let mode = format!("{} {kind}", case["mode"].as_str().unwrap_or_default());
        let count = counts.entry(mode.trim_end().to_owned()).or_default();
        count.0 += 1;
        if !same {
            count.1 += 1;
            if shown < SHOWN {
                shown += 1;
                println!("DIFFERENT {case}\n  want {want}\n  got  {got}");
            }
        }
    }
    let different: usize = counts.values().map(|count| count.1).sum();
    for (mode, (cases, different)) in &counts {
        println!("{cases:>8} {different:>6} different  {mode}");
    }
    Ok(if different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn lines(path: &str) -> io::Result<io::Lines<BufReader<File>>> {
    Ok(BufReader::new(File::open(path)?).lines())
}

/// Without what is not compared: the HPA's rendering of quantities, and its memory where it was asked for.
fn comparable(mut answer: Value) -> Value {
    for step in answer.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(step) = step.as_object_mut() {
            step.remove("current_metrics");
            step.remove("state");
        }
    }
    answer
}
