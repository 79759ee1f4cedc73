//! Recorded cases as JSON: pages, recipes, the verdicts of Prometheus's parsers, and the outcomes.

use std::{collections::HashMap, error::Error};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use llm_autoscaler_engines::{Kind, Recipe};
use serde_json::{Value, json};

use crate::{
    compare::{Case, Outcome, compare},
    lines::{Format, Oracle},
    model::{Bytes, Sample, Verdict},
};

/// A case with the oracle's answers and the outcomes.
struct Recorded {
    case: Case,
    answers: Answers,
    outcomes: Vec<String>,
}

/// The recorded answers.
struct Answers(HashMap<(Format, Bytes), Verdict>);

impl Oracle for Answers {
    fn ask(&mut self, format: Format, page: &[u8]) -> Verdict {
        let known = self.0.get(&(format, page.to_owned()));
        // The comparison has changed, and has a question that was not recorded.
        known.cloned().unwrap_or_else(|| Verdict {
            error: Some("this question was not recorded".to_owned()),
            samples: Vec::new(),
        })
    }
}

/// Repeats the comparison of recorded cases, one per line, and returns those with another outcome.
pub(crate) fn check(cases: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let mut problems = Vec::new();
    for (index, line) in cases.lines().enumerate() {
        let mut recorded = from_json(&serde_json::from_str(line)?)?;
        let outcomes: Vec<_> =
            compare(&mut recorded.answers, &recorded.case).iter().map(word).collect();
        if outcomes != recorded.outcomes {
            let page = recorded.case.page.escape_ascii();
            let expected = recorded.outcomes;
            problems.push(format!(
                "case {}: expected {expected:?}, found {outcomes:?}: {page}",
                index + 1
            ));
        }
    }
    Ok(problems)
}

/// Returns an outcome as text.
fn word(outcome: &Outcome) -> String {
    format!("{outcome:?}")
}

pub(crate) fn to_json(
    case: &Case,
    answers: &[((Format, Bytes), Verdict)],
    outcomes: &[Outcome],
) -> Value {
    let recipes = case.recipes.iter().map(|recipe| {
        let selector = &recipe.terms()[0][0];
        json!({"kind": kind(recipe.kind()), "series": selector.name, "labels": selector.labels})
    });
    let answers = answers.iter().map(|((format, page), verdict)| {
        let samples: Vec<_> = verdict.samples.iter().map(sample).collect();
        let page = if *page == case.page { Value::Null } else { text(page) };
        json!([format.name(), page, verdict.error, samples])
    });
    json!({
        "format": case.format.name(),
        "page": text(&case.page),
        "recipes": recipes.collect::<Vec<_>>(),
        "outcomes": outcomes.iter().map(word).collect::<Vec<_>>(),
        "answers": answers.collect::<Vec<_>>(),
    })
}

fn from_json(recorded: &Value) -> Result<Recorded, Box<dyn Error>> {
    let array = |value: &Value| {
        Ok::<_, Box<dyn Error>>(value.as_array().ok_or("a list is missing")?.clone())
    };
    let recipes = array(&recorded["recipes"])?;
    let case = Case {
        format: format(&recorded["format"])?,
        page: bytes(&recorded["page"])?,
        recipes: recipes.iter().map(recipe).collect::<Result<_, _>>()?,
    };
    let mut answers = HashMap::new();
    for answer in array(&recorded["answers"])? {
        let samples = array(&answer[3])?.iter().map(read_sample).collect::<Result<_, _>>()?;
        let verdict = Verdict { error: answer[2].as_str().map(str::to_owned), samples };
        let page = if answer[1].is_null() { case.page.clone() } else { bytes(&answer[1])? };
        answers.insert((format(&answer[0])?, page), verdict);
    }
    let outcomes = serde_json::from_value(recorded["outcomes"].clone())?;
    Ok(Recorded { case, answers: Answers(answers), outcomes })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::Histogram => "histogram",
    }
}

fn recipe(recipe: &Value) -> Result<Recipe, Box<dyn Error>> {
    let name = recipe["series"].as_str().ok_or("a series is missing")?;
    let labels: Vec<(String, String)> = serde_json::from_value(recipe["labels"].clone())?;
    let kinds = [Kind::Gauge, Kind::Counter, Kind::Histogram];
    let kind = kinds
        .into_iter()
        .find(|known| recipe["kind"] == kind(*known))
        .ok_or("a kind is missing")?;
    Ok(Recipe::series(kind, name, labels))
}

fn format(name: &Value) -> Result<Format, Box<dyn Error>> {
    Ok(Format::ALL.into_iter().find(|format| name == format.name()).ok_or("a format is missing")?)
}

/// Returns text as a JSON string, or in base64 as the only item of a list if it is not UTF-8.
fn text(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| json!([BASE64.encode(bytes)]), |text| json!(text))
}

fn bytes(text: &Value) -> Result<Bytes, Box<dyn Error>> {
    match text.as_str() {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => Ok(BASE64.decode(text[0].as_str().ok_or("a text is missing")?)?),
    }
}

/// Returns a sample as `[name, value, timed, label, value, label, value, …]`.
fn sample(sample: &Sample) -> Value {
    let head = [text(&sample.name), json!(sample.value.to_string()), json!(sample.is_timed)];
    head.into_iter()
        .chain(sample.labels.iter().flat_map(|(name, value)| [text(name), text(value)]))
        .collect()
}

fn read_sample(sample: &Value) -> Result<Sample, Box<dyn Error>> {
    let [name, value, is_timed, labels @ ..] = &sample.as_array().ok_or("a sample is missing")?[..]
    else {
        return Err("a sample is too short".into());
    };
    let labels = labels.chunks(2).map(|label| Ok((bytes(&label[0])?, bytes(&label[1])?)));
    Ok(Sample {
        name: bytes(name)?,
        labels: labels.collect::<Result<_, Box<dyn Error>>>()?,
        value: value.as_str().ok_or("a value is missing")?.parse()?,
        is_timed: is_timed.as_bool().ok_or("a sample does not say whether it is timed")?,
    })
}
