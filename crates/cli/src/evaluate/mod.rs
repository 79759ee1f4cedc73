//! `llm-autoscaler evaluate`: answers cases about decisions, one JSON object each.
//!
//! The cases and the answers are those of the oracle in `tests/conformance`, which answers them with the HPA's own
//! code; so the two can be compared. Resource metrics (CPU, memory) are not supported, and say so.

mod behavior;
mod calc;
mod explain;
mod input;
mod read;
mod spec;
mod status;
mod timeline;
mod world;

use std::io::{self, BufRead, Write};

use llm_autoscaler_core::Profile;
use serde_json::{Value, json};

use input::Case;
use read::{Item, items};

/// How the cases went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many there were.
    pub cases: usize,
    /// How many of them could not be read.
    pub malformed: usize,
}

/// Answers every case of `input`, a line each; with `explain` in sentences instead of JSON.
///
/// Cases are objects, one a line or printed over several, or one array. What cannot be read is answered by an
/// error that names its line, and the rest goes on.
///
/// # Errors
/// Reading or writing failed.
pub fn evaluate(
    input: impl BufRead,
    mut output: impl Write,
    profile: Profile,
    explain: bool,
) -> io::Result<Summary> {
    let mut summary = Summary::default();
    for item in items(input) {
        let Item { line, text } = item?;
        summary.cases += 1;
        let answer = match serde_json::from_slice::<Case>(&text) {
            Ok(case) => answer(&case, profile),
            Err(error) => {
                summary.malformed += 1;
                malformed(line, &text, &error)
            }
        };
        if explain {
            writeln!(output, "{}", answer.explanation())?;
        } else {
            writeln!(output, "{}", answer.json)?;
        }
        output.flush()?;
    }
    Ok(summary)
}

/// What a case is not supported for.
struct Unsupported(String);

impl Unsupported {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

struct Answer {
    json: Value,
    /// The steps in sentences, where there are steps.
    steps: Vec<String>,
}

impl Answer {
    fn explanation(&self) -> String {
        let id = self.json["id"].as_str().unwrap_or_default();
        if self.steps.is_empty() {
            return self.json.to_string();
        }
        format!("{id}\n{}", self.steps.join("\n"))
    }
}

fn answer(case: &Case, profile: Profile) -> Answer {
    let answered = match case.mode.as_str() {
        "" | "calc" => calc::answer(case, profile).map(|json| Answer { json, steps: Vec::new() }),
        "timeline" => timeline::answer(case, profile)
            .map(|told| Answer { json: json!({"steps": told.steps}), steps: told.explanations }),
        _ => behavior::answer(case, profile).map(|json| Answer { json, steps: Vec::new() }),
    };
    let mut answer = answered.unwrap_or_else(|Unsupported(what)| Answer {
        json: json!({"error": format!("not supported: {what}")}),
        steps: Vec::new(),
    });
    answer.json["id"] = case.id.as_str().into();
    answer
}

/// An answer to what is no case; with its id, if that much can be read.
fn malformed(line: usize, text: &[u8], error: &serde_json::Error) -> Answer {
    let id = serde_json::from_slice::<Value>(text)
        .ok()
        .and_then(|value| value["id"].as_str().map(str::to_owned));
    // The position within the text is of use only where the text has lines of its own.
    let line = line + error.line().saturating_sub(1);
    let error = error.to_string();
    let what = error.split(" at line ").next().unwrap_or_default();
    let json =
        json!({"id": id.unwrap_or_default(), "error": format!("line {line}: not a case: {what}")});
    Answer { json, steps: Vec::new() }
}
