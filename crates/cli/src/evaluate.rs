//! `llm-autoscaler evaluate`: answers cases about decisions, one JSON object each.
//!
//! The modes of `hpa` are those of the oracle in `tests/conformance`. Mode `step` plans whole
//! steps of an autoscaler from its pods and samples; `docs/evaluate.md` describes its format.

mod answer;
mod explain;
mod fields;
mod header;
mod hpa;
mod step;
mod stream;

use std::io::{self, BufRead, Write};

use llm_autoscaler_core::Profile;
use serde_json::Value;

use self::{
    answer::Answer,
    header::Header,
    stream::{Item, items},
};

/// The number of cases in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of cases.
    pub cases: usize,
    /// The number of cases that could not be read.
    pub malformed: usize,
}

/// Answers every case of `input`, one line each; with `explain` in sentences instead of JSON.
///
/// Cases are objects, one per line or printed over several lines, or one array of objects. A
/// malformed case is answered by an error with its line, and the following cases are answered.
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
        summary.cases += 1;
        let answer = answer(&item?, profile).unwrap_or_else(|malformed| {
            summary.malformed += 1;
            malformed
        });
        if explain {
            writeln!(output, "{}", answer.explanation())?;
        } else {
            writeln!(output, "{}", answer.json)?;
        }
        output.flush()?;
    }
    Ok(summary)
}

/// The mode in which whole steps are planned.
const STEP: &str = "step";

/// Answers one case; a malformed one with `Err`.
fn answer(Item { line, text }: &Item, profile: Profile) -> Result<Answer, Answer> {
    let header: Header = serde_json::from_slice(text).unwrap_or_default();
    if header.mode == STEP {
        let answer = step::answer(text, *line, profile);
        return match answer {
            Ok(answer) => Ok(answer.with_id(&header.id)),
            Err(error) => Err(error.with_id(&header.id)),
        };
    }
    let case = hpa::Case::read(text).map_err(|error| malformed(*line, text, &error))?;
    if !hpa::is_mode(&header.mode) {
        return Err(no_mode(*line, &header));
    }
    Ok(case.answer(profile))
}

/// Returns the answer to a case of an unknown mode.
fn no_mode(line: usize, header: &Header) -> Answer {
    let (mode, known) = (&header.mode, hpa::MODES.join(", "));
    Answer::malformed(line, &format!("there is no mode {mode}; there are {STEP}, {known}"))
        .with_id(&header.id)
}

/// Returns the answer to a text that is no case, with its ID if that can be read.
fn malformed(line: usize, text: &[u8], error: &serde_json::Error) -> Answer {
    let id = serde_json::from_slice::<Value>(text)
        .ok()
        .and_then(|value| value["id"].as_str().map(str::to_owned));
    // The position within the text is useful only if the text has several lines.
    let line = line + error.line().saturating_sub(1);
    let error = error.to_string();
    let what = error.split(" at line ").next().unwrap_or_default();
    Answer::malformed(line, &format!("not a case: {what}")).with_id(&id.unwrap_or_default())
}
