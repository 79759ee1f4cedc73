//! `convert --check`: the input's autoscalers and the results, in the simulator.

use std::{fmt::Write, path::PathBuf, sync::Arc};

use anyhow::Context;
use llm_autoscaler_api::{LLMAutoscaler, LLMAutoscalerSpec, Quantity};
use llm_autoscaler_convert::{Algorithm, Conversion, Report};
use llm_autoscaler_core::Profile;
use llm_autoscaler_simulate::{
    DEFAULT_PROFILE, Difference, EngineProfile, Outcome, STANDARD_LOAD, Scenario, Victims,
    arrivals::{Lengths, Load, Shape, Spread, SyntheticLoad, Trace, TraceLoad},
    differences,
    policy::{Autoscaler, Limits, Spec, policy},
    standard_load,
};
use serde_json::{Value, json};

use crate::simulate::read_trace;

/// The warm-up in seconds, and the time that a terminating pod has.
const WARM_UP: f64 = 600.0;
const GRACE: f64 = 30.0;
/// The differences that are listed.
const LISTED: usize = 5;

/// The options of the comparison.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Print a comparison of the input's autoscalers with the results, in the simulator, instead of
    /// the results.
    #[arg(id = "check", long = "check")]
    wanted: bool,
    /// The load of the comparison: a CSV file as that of simulate. By default a day in four hours,
    /// whose peak needs 90 % of the upper limit.
    #[arg(long, value_name = "FILE", requires = "check")]
    trace: Option<PathBuf>,
    /// The engine of the comparison: a profile of docs/simulate.md.
    #[arg(long, default_value = DEFAULT_PROFILE, value_name = "NAME", requires = "check")]
    profile: String,
}

impl Check {
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Compares each result with its source. Each part of the text is printed once it is known,
    /// because a comparison takes seconds.
    ///
    /// # Errors
    /// The profile or the trace cannot be read, or the text cannot be printed.
    pub(super) fn compare(
        &self,
        report: &Report,
        print: impl Fn(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let profile = EngineProfile::named(&self.profile)?;
        let trace = self.trace.as_deref().map(read_trace).transpose()?;
        print(&format!(
            "This is a simulation and no measurement, on the profile {} of docs/simulate.md\n\
             ({} on {}). Replicas start in 120 s. 99 % of the requests are\n\
             promised the first token in 2 s and 0.1 s between tokens. The load is\n{}.\n",
            self.profile,
            profile.model,
            profile.accelerator,
            self.load_words()
        ))?;
        if report.conversions.iter().all(|conversion| conversion.objects.is_empty()) {
            print("\nNo LLMAutoscaler comes of the input, so nothing is compared.\n")?;
        }
        for conversion in &report.conversions {
            for object in &conversion.objects {
                let object: LLMAutoscaler = serde_json::from_value(object.clone())?;
                let name = object.metadata.name.clone().unwrap_or_default();
                print(&format!("\n{} and LLMAutoscaler {name}:\n", conversion.source))?;
                match pair(conversion, object.spec, &profile, trace.as_ref()) {
                    Ok(pair) => print(&pair)?,
                    Err(error) => print(&format!("not compared: {error:#}\n"))?,
                }
            }
        }
        Ok(())
    }

    fn load_words(&self) -> String {
        let file = self.trace.as_ref().map(|file| file.display().to_string());
        file.unwrap_or_else(|| STANDARD_LOAD.to_owned())
    }
}

/// Runs one pair, and returns its table.
fn pair(
    conversion: &Conversion,
    mut spec: LLMAutoscalerSpec,
    profile: &EngineProfile,
    trace: Option<&Arc<Trace>>,
) -> anyhow::Result<String> {
    let algorithm = conversion.algorithm.context("the source is no autoscaler")?;
    let mut notes = Vec::new();
    if spec.min_replicas == 0 {
        (spec.min_replicas, spec.scale_to_zero) = (1, None);
        notes.push("both have a lower limit of 1: scaling to zero is not simulated".to_owned());
    }
    // Its error tells what of the spec is not simulated.
    let mut ours = Spec::new(&spec, Profile::Default, 0.0)?;
    let scenario = scenario(&spec, profile.clone(), trace)?;
    let (mut source, note) = peer(algorithm, &spec, &scenario)?;
    notes.push(note);
    notes.extend(ours.notes().iter().cloned());
    let outcomes = [scenario.run(&mut *source, &mut |_| ()), scenario.run(&mut ours, &mut |_| ())];
    Ok(table(&outcomes, f64::from(profile.gpus), &notes))
}

/// Returns the scenario of a pair.
fn scenario(
    spec: &LLMAutoscalerSpec,
    profile: EngineProfile,
    trace: Option<&Arc<Trace>>,
) -> anyhow::Result<Scenario> {
    let nothing = SyntheticLoad {
        shape: Shape::constant(0.0, 1.0),
        lengths: Lengths::Lognormal { prompt: 1.0, output: 1.0, sigma: 0.0 },
        warm_up: WARM_UP,
    };
    let target = spec.scale_target_ref.as_ref();
    let mut scenario = Scenario {
        replicas: limits(spec).min,
        grace: GRACE,
        victims: target.map(|target| Victims::of_kind(&target.kind)).unwrap_or_default(),
        ..Scenario::new(Load::Synthetic(nothing), WARM_UP, profile)
    };
    scenario.load = match trace {
        None => standard_load(&scenario, limits(spec).max)?,
        Some(trace) => {
            let (trace, spread) = (Arc::clone(trace), Spread::Jitter(0.0));
            Load::Trace(TraceLoad { trace, copies: 1, spread, warm_up: WARM_UP })
        }
    };
    Ok(scenario)
}

fn limits(spec: &LLMAutoscalerSpec) -> Limits {
    let limit = |replicas: i32| u32::try_from(replicas).unwrap_or(1).max(1);
    Limits { min: limit(spec.min_replicas), max: limit(spec.max_replicas) }
}

/// Returns the source's algorithm with its settings, and a sentence on how it is simulated.
fn peer(
    algorithm: Algorithm,
    spec: &LLMAutoscalerSpec,
    scenario: &Scenario,
) -> anyhow::Result<(Box<dyn Autoscaler>, String)> {
    if algorithm == Algorithm::Hpa {
        let mut as_hpa = serde_json::to_value(spec)?;
        as_hpa["sources"] = json!([{"scrape": {"intervalSeconds": 15, "timeoutSeconds": 5}}]);
        let spec: LLMAutoscalerSpec = serde_json::from_value(as_hpa)?;
        let note = "the source is the HPA's arithmetic with its targets and behavior, every 15 s by \
                    pages\nof every 15 s. The delays of Prometheus and of an adapter are left out, \
                    in its favour";
        return Ok((Box::new(Spec::new(&spec, Profile::HpaExact, 0.0)?), note.to_owned()));
    }
    let (signal, target) = only_signal(spec)?;
    let name = match (algorithm, signal.as_str()) {
        (Algorithm::Apa, "KVCacheUsage") => format!("apa={target}"),
        (Algorithm::Apa, "InFlightRequests") => format!("apa-in-flight={target}"),
        (Algorithm::Kpa, "InFlightRequests") => format!("kpa={target}"),
        (Algorithm::Kthena, "WaitingRequests") => format!("kthena={target}"),
        (Algorithm::Wva, _) => "wva".to_owned(),
        _ => anyhow::bail!(
            "the simulator has the algorithm of the source for other metrics than {signal}\nonly \
             (docs/simulate.md#the-policies)"
        ),
    };
    let found = policy(&name, &scenario.policy_context(limits(spec)))?;
    let note = format!(
        "the source is the policy {name} of docs/simulate.md with its bounds.\nIts other settings, \
         such as windows, are the defaults"
    );
    Ok((found, note))
}

/// Returns the signal and the target of a spec with one metric.
fn only_signal(spec: &LLMAutoscalerSpec) -> anyhow::Result<(String, f64)> {
    let metrics = serde_json::to_value(&spec.metrics)?;
    let list = metrics.as_array().map(Vec::as_slice).unwrap_or_default();
    // A VariantAutoscaling becomes two, of which its policy needs none.
    let [metric, ..] = list else { anyhow::bail!("there is no metric") };
    let text = |path: &str| metric.pointer(path).and_then(Value::as_str);
    let signal = text("/signal").context("a metric is no signal of the engine")?;
    let target = text("/target/averageValue").or_else(|| text("/target/value"));
    let target = Quantity(target.context("a metric has no target")?.to_owned()).milli()?;
    Ok((signal.to_owned(), target.0 as f64 / 1000.0))
}

/// Returns the numbers of both, and the times at which they differ.
fn table(outcomes: &[Outcome; 2], gpus: f64, notes: &[String]) -> String {
    let mut text = format!(
        "{:14}  {:>10}  {:>11}  {:>13}  {:>9}  {:>8}  {:>8}\n",
        "", "ATTAINMENT", "WORST 5 MIN", "REPLICA-HOURS", "REVERSALS", "CHANGES", "TTFT P99"
    );
    for (name, outcome) in ["source", "LLMAutoscaler"].iter().zip(outcomes) {
        let latency = outcome.ttft_p99.map_or_else(|| "-".to_owned(), |it| format!("{it:.2} s"));
        let _ = writeln!(
            text,
            "{name:14}  {:>8.2} %  {:>9.1} %  {:>13.2}  {:>9}  {:>8}  {latency:>8}",
            outcome.attainment * 100.0,
            outcome.worst_five_minutes * 100.0,
            outcome.gpu_hours / gpus,
            outcome.reversals,
            outcome.changes,
        );
    }
    let [source, ours] = outcomes;
    let found = differences(source, ours);
    let length = source.timeline.last().map_or(0.0, |moment| moment.t);
    // The sum of nothing is -0, which would be printed so.
    let differing = found.iter().fold(0.0, |sum, it| sum + it.until - it.from);
    let _ = writeln!(
        text,
        "the sizes differ for {:.0} of {:.0} minutes{}",
        differing / 60.0,
        length / 60.0,
        if found.is_empty() { "" } else { ", most of all:" }
    );
    for Difference { from, until, sizes, waiting } in found.iter().take(LISTED) {
        let _ = writeln!(
            text,
            "  {} to {}: {} and {} replicas, {} and {} requests waiting",
            clock(*from),
            clock(*until),
            sizes.0,
            sizes.1,
            waiting.0,
            waiting.1
        );
    }
    for note in notes {
        let _ = writeln!(text, "Note: {note}.");
    }
    text
}

/// Returns a time since the start as hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use llm_autoscaler_convert::Options;

    use super::*;

    #[test]
    fn the_names_of_a_pair_are_printed_before_it_is_simulated() {
        let guide = include_str!("../../../../tests/fixtures/convert/guide.yaml");
        let documents = llm_autoscaler_convert::read("guide.yaml", guide).unwrap();
        let report = llm_autoscaler_convert::convert(&documents, Options::default()).unwrap();
        let profile = DEFAULT_PROFILE.to_owned();
        let check = Check { wanted: true, trace: None, profile };
        let printed = RefCell::new(Vec::new());
        // A disk that becomes full ends it, before the second simulation.
        let result = check.compare(&report, |text| {
            anyhow::ensure!(printed.borrow().len() < 3, "the disk is full");
            printed.borrow_mut().push(text.to_owned());
            Ok(())
        });
        assert_eq!(result.unwrap_err().to_string(), "the disk is full");
        let [header, names, table] = &printed.into_inner()[..] else { panic!("three parts") };
        assert!(header.starts_with("This is a simulation"), "{header}");
        assert_eq!(
            names,
            "\nHorizontalPodAutoscaler llm-inference-hpa and LLMAutoscaler vllm-inference:\n"
        );
        assert!(table.contains("REPLICA-HOURS") && table.contains("sizes differ"), "{table}");
    }
}
