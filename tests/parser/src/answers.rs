//! The oracle's answers, parsed from JSON.

use std::error::Error;

use serde_json::Value;

use crate::model::{Bytes, Sample, Verdict};

/// Parses an answer.
pub(crate) fn verdict(answer: &Value) -> Result<Verdict, Box<dyn Error>> {
    let error = match (answer["ok"].as_bool(), answer["error"].as_str()) {
        (Some(true), _) => None,
        (Some(false), Some(error)) => Some(error.to_owned()),
        _ => return Err("an answer has neither ok nor an error".into()),
    };
    let samples = answer["samples"].as_array().ok_or("an answer has no samples")?;
    Ok(Verdict { error, samples: samples.iter().map(sample).collect::<Result<_, _>>()? })
}

fn sample(sample: &Value) -> Result<Sample, Box<dyn Error>> {
    let is_hex = sample["hex"].as_bool().unwrap_or_default();
    let text = |value: &Value| -> Result<Bytes, Box<dyn Error>> {
        let text = value.as_str().ok_or("a sample's text is missing")?;
        if is_hex { from_hex(text) } else { Ok(text.as_bytes().to_vec()) }
    };
    let labels = sample["labels"].as_array().ok_or("a sample's labels are missing")?;
    let labels = labels.iter().map(|label| Ok((text(&label[0])?, text(&label[1])?)));
    let bits = sample["value"].as_str().ok_or("a sample's value is missing")?;
    Ok(Sample {
        name: text(&sample["name"])?,
        labels: labels.collect::<Result<_, Box<dyn Error>>>()?,
        value: f64::from_bits(u64::from_str_radix(bits, 16)?),
        is_timed: !sample["ts"].is_null(),
    })
}

fn from_hex(text: &str) -> Result<Bytes, Box<dyn Error>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
