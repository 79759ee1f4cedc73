//! Counts the cases in which the Default profile's answer differs from the HPA's, by the deviation
//! that causes the difference.

use std::{
    error::Error,
    fs::File,
    io::{self, BufReader},
};

use llm_autoscaler::evaluate::evaluate;
use llm_autoscaler_core::{Deviation, Profile};
use serde_json::Value;

use crate::comparable;

/// The columns of the table: cases of calculators, of later stages, and timelines.
const GROUPS: [&str; 3] = ["one metric", "windows and limits", "timelines"];

type IsAbout = fn(&Case) -> bool;

/// The feature that a case must have for a deviation to change its answer. A deviation that changes
/// any other case is a bug.
const SUBJECTS: [(Deviation, IsAbout); Deviation::ALL.len()] = [
    (Deviation::DirectionCheck, |case| case.has_pods_metric() || case.has_value()),
    (Deviation::NoneReady, Case::has_value),
    (Deviation::Quorum, |case| case.is_timeline() && case.has_pods_metric()),
    (Deviation::ReplicaUnits, Case::has_pods_metric),
    (Deviation::StartingReplicas, Case::has_pods_metric),
    (Deviation::StuckReplicas, |case| case.text.contains(r#""stuck":true"#)),
    (Deviation::EndedReplicas, |case| {
        case.has_pods_metric() && case.text.contains(r#""phase":"Succeeded""#)
    }),
    (Deviation::EndingReplicas, |case| case.text.contains(r#""deleted":true"#)),
    (Deviation::EngineActivity, |case| case.text.contains(r#""activity":""#)),
    (Deviation::AskedForReplicas, Case::has_average),
    (Deviation::WindowNeverGrows, |case| case.specs().any(|spec| spec["behavior"].is_null())),
    (Deviation::GrowthByTime, |case| {
        case.json["mode"] == "rules" || case.specs().any(|spec| spec["behavior"].is_null())
    }),
    (Deviation::UnobservedTime, Case::is_timeline),
    (Deviation::SurvivingHistory, |case| {
        case.is_timeline() && (case.text.contains(r#""restart":true"#) || case.specs().count() > 1)
    }),
    (Deviation::KeptScaleEvents, |case| case.specs().any(|spec| spec["behavior"].is_object())),
    (Deviation::Saturation, |case| {
        is_extreme(&case.json) || (case.has_average() && case.json["current"] == 0)
    }),
];

/// Prints how many answers each deviation changes. Returns false if a deviation changes a case that
/// lacks its feature, or if it changes no case at all.
pub(crate) fn count(cases: io::Lines<BufReader<File>>) -> Result<bool, Box<dyn Error>> {
    let (mut total, mut different) = ([0_usize; GROUPS.len()], [0_usize; GROUPS.len()]);
    let mut counts = [[0_usize; GROUPS.len()]; Deviation::ALL.len()];
    let mut unnamed = 0;
    for text in cases {
        let case = Case::new(text?)?;
        total[case.group()] += 1;
        let reasons = case.reasons()?;
        different[case.group()] += usize::from(!reasons.is_empty());
        for deviation in &reasons {
            counts[*deviation as usize][case.group()] += 1;
        }
        if !reasons.iter().all(|deviation| case.is_about(*deviation)) {
            unnamed += 1;
            println!("UNNAMED {reasons:?} {}", case.text);
        }
    }
    println!(
        "Where the Default profile differs from the HPA, and the deviations that make a \
         difference there:\n"
    );
    row("", GROUPS.map(str::to_owned));
    row("---", GROUPS.map(|_| "---:".to_owned()));
    row("cases", total.map(|count| count.to_string()));
    row("different", different.map(|count| count.to_string()));
    let mut silent = 0;
    for (deviation, counts) in Deviation::ALL.into_iter().zip(counts) {
        row(&format!("`{deviation:?}`"), counts.map(|count| count.to_string()));
        silent += usize::from(counts.iter().sum::<usize>() == 0);
    }
    println!("\n{unnamed} differences without a name, {silent} deviations without a difference");
    Ok(unnamed == 0 && silent == 0)
}

fn row(name: &str, cells: [String; GROUPS.len()]) {
    println!("| {name:<20} | {} |", cells.map(|cell| format!("{cell:>18}")).join(" | "));
}

struct Case {
    text: String,
    json: Value,
}

impl Case {
    fn new(text: String) -> serde_json::Result<Self> {
        let json = serde_json::from_str(&text)?;
        Ok(Self { text, json })
    }

    fn group(&self) -> usize {
        match self.json["mode"].as_str() {
            Some("calc") => 0,
            Some("timeline") => 2,
            _ => 1,
        }
    }

    /// Returns the deviations that change this case's answer. A deviation does if enabling it alone
    /// changes the HPA's answer, or if disabling it alone changes the Default profile's answer.
    fn reasons(&self) -> Result<Vec<Deviation>, Box<dyn Error>> {
        let (exact, ours) = (self.answer(Profile::HpaExact)?, self.answer(Profile::Default)?);
        if exact == ours {
            return Ok(Vec::new());
        }
        let mut reasons = Vec::new();
        for deviation in Deviation::ALL {
            let alone = Profile::Only([deviation].into_iter().collect());
            let rest = Deviation::ALL.into_iter().filter(|other| *other != deviation);
            let without = Profile::Only(rest.collect());
            if self.answer(alone)? != exact || self.answer(without)? != ours {
                reasons.push(deviation);
            }
        }
        if reasons.is_empty()
            || self.answer(Profile::Only(Deviation::ALL.into_iter().collect()))? != ours
        {
            return Err(format!("no deviation is the reason of a difference: {}", self.text).into());
        }
        Ok(reasons)
    }

    /// Evaluates the case, and keeps the decision but not the memory after it.
    fn answer(&self, profile: Profile) -> Result<Value, Box<dyn Error>> {
        let mut answer = Vec::new();
        evaluate(self.text.as_bytes(), &mut answer, profile, false)?;
        let mut answer = comparable(serde_json::from_slice(&answer)?);
        if let Some(answer) = answer.as_object_mut() {
            answer.retain(|key, _| {
                !matches!(key.as_str(), "recommendations" | "log_length" | "events")
            });
        }
        Ok(answer)
    }

    fn is_about(&self, deviation: Deviation) -> bool {
        SUBJECTS.iter().any(|(subject, is_about)| *subject == deviation && is_about(self))
    }

    fn is_timeline(&self) -> bool {
        self.json["mode"] == "timeline"
    }

    fn has_pods_metric(&self) -> bool {
        self.json["kind"] == "pods" || self.metrics().any(|metric| metric["type"] == "Pods")
    }

    fn has_value(&self) -> bool {
        self.has_target("_value", "value")
    }

    fn has_average(&self) -> bool {
        self.has_target("_average", "averageValue")
    }

    /// Returns true if an Object or External metric has a target of this kind.
    fn has_target(&self, kind: &str, field: &str) -> bool {
        let of_calculator = self.json["kind"].as_str().is_some_and(|name| name.ends_with(kind));
        let sets = |metric: &Value, source| metric[source]["target"][field].is_string();
        of_calculator
            || self.metrics().any(|metric| sets(metric, "object") || sets(metric, "external"))
    }

    fn metrics(&self) -> impl Iterator<Item = &Value> {
        self.specs().flat_map(|spec| spec["metrics"].as_array().into_iter().flatten())
    }

    /// Iterates over the specs of a timeline: the first one, then those that steps replace it by.
    fn specs(&self) -> impl Iterator<Item = &Value> {
        let timeline = &self.json["timeline"];
        let later = timeline["steps"].as_array().into_iter().flatten().map(|step| &step["spec"]);
        std::iter::once(&timeline["spec"]).chain(later).filter(|spec| spec.is_object())
    }
}

/// Returns true if any number in the case is negative or far above every real load or size.
fn is_extreme(json: &Value) -> bool {
    match json {
        Value::Number(number) => {
            number.as_f64().is_some_and(|number| !(0.0..1e8).contains(&number))
        }
        Value::Array(list) => list.iter().any(is_extreme),
        Value::Object(fields) => fields.values().any(is_extreme),
        _ => false,
    }
}
