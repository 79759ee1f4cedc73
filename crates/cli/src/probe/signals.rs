//! The signals of a page, as text and as JSON.

use std::{fmt::Write, time::Duration};

use llm_autoscaler_engines::{
    Finding, Inspection, Processes, Program, SignalInfo,
    exposition::{PageError, Value as Quantity},
};
use serde_json::{Value, json};

use super::quantity_json;
use crate::engines::notes;

/// Returns the signals of a page, and those that are missing with the reason.
pub(super) fn text(
    page: &str,
    bytes: usize,
    inspection: &Inspection,
    over: Option<Duration>,
) -> String {
    let Inspection { program, summary, problem, findings, .. } = inspection;
    let (there, missing): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|finding| finding.value != Quantity::Absent);
    let mut text = format!(
        "{page}: {}, {bytes} bytes, {} samples\n",
        program.profile().display,
        summary.samples
    );
    if let Some(problem) = problem {
        let _ = writeln!(text, "{}", told(problem));
    }
    for hint in [other_program(inspection), sleep(inspection)].into_iter().flatten() {
        let _ = writeln!(text, "  {hint}");
    }
    for finding in &there {
        let SignalInfo { name, .. } = finding.def.signal.info();
        let _ = writeln!(
            text,
            "  {name:<24} {:<44} {}",
            finding.describe(over),
            finding.series.join(" + ")
        );
    }
    for (former, newest) in there.iter().filter_map(|finding| finding.former) {
        let _ = writeln!(
            text,
            "  {former} is a former name of {newest}, which an upgrade of the engine will remove"
        );
    }
    for finding in &missing {
        let hint = if finding.similar.is_empty() {
            String::new()
        } else {
            format!("; the page has {}", finding.similar.join(", "))
        };
        let name = finding.def.signal.info().name;
        let series = finding.series.join(" + ");
        let why = match &finding.flaw {
            Some(flaw) => flaw.clone(),
            None => format!("{series} is not on the page{hint}"),
        };
        let _ = writeln!(text, "  {name:<24} {:<44} {why}", "missing");
    }
    text + &notes(*program)
}

/// Returns the hint that the page is of another engine or gateway than it was read as, if a signal
/// is missing.
pub(super) fn other_program(inspection: &Inspection) -> Option<String> {
    let Inspection { program, recognized, findings, .. } = inspection;
    let is_missing = |finding: &Finding| finding.value == Quantity::Absent;
    if *recognized == Some(*program) || !findings.iter().any(is_missing) {
        return None;
    }
    let own = program.profile().display;
    let Some(other) = recognized.map(|other| other.profile().display) else {
        return Some(format!("it has no series of {own}"));
    };
    let field = match program {
        Program::Engine(_) => "the field engine",
        Program::Gateway(_) => "podSelector and the field gateway",
    };
    Some(format!("it looks like a page of {other}, and is read as one of {own}: check {field}"))
}

/// Returns a sentence about the processes of the engine that sleep, if some do.
fn sleep(inspection: &Inspection) -> Option<String> {
    let processes @ Processes { awake, asleep } = inspection.processes?;
    if processes.all_sleep() {
        let text = "the engine sleeps: its replica is neither load nor idle capacity; wake it to \
                    use it";
        return Some(text.to_owned());
    }
    let all = awake + asleep;
    (asleep > 0.0).then(|| format!("{asleep} of {all} processes of the engine sleep"))
}

/// Returns the text of an error with the beginning of the line that is wrong, which the status of
/// an autoscaler does not show.
pub(super) fn told(error: &PageError) -> String {
    match error.excerpt() {
        "" => error.to_string(),
        excerpt => format!("{error}: {excerpt:?}"),
    }
}

pub(super) fn as_json(
    page: &str,
    bytes: usize,
    inspection: &Inspection,
    over: Option<Duration>,
) -> Value {
    let Inspection { program, summary, problem, findings, recognized, processes } = inspection;
    let signals: Vec<Value> = findings.iter().map(finding_json).collect();
    json!({
        "page": page,
        "engine": program.profile().name,
        "bytes": bytes,
        "samples": summary.samples,
        "problem": problem.as_ref().map(told),
        "overSeconds": over.map(|over| over.as_secs_f64()),
        "recognized": recognized.map(|program| program.profile().name),
        "asleep": processes.map(Processes::all_sleep),
        "signals": signals,
    })
}

fn finding_json(finding: &Finding) -> Value {
    let SignalInfo { name, unit, kind, .. } = finding.def.signal.info();
    let value = quantity_json(&finding.value);
    json!({
        "signal": name,
        "kind": kind.name(),
        "unit": unit,
        "value": value,
        "series": finding.series,
        "formerName": finding.former.map(|(former, newest)| json!({"used": former, "now": newest})),
        "ambiguous": finding.ambiguous,
        "similar": finding.similar,
        "flaw": finding.flaw,
    })
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_engines::{Engine, Gateway, inspect, recognize_program};

    use super::*;

    const PAGE: &str = include_str!("../../../../tests/fixtures/engines/vllm-0.15.1-busy.txt");

    #[test]
    fn each_signal_of_a_page_is_printed() {
        let inspection = inspect(PAGE.as_bytes(), Engine::Vllm).unwrap();
        let printed = text("page", PAGE.len(), &inspection, None);
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[0], "page: vLLM, 44971 bytes, 387 samples");
        assert!(lines[1].starts_with("  WaitingRequests          11  "), "{printed}");
        assert!(lines[1].ends_with(" vllm:num_requests_waiting"), "{printed}");
        assert_eq!(lines.len(), 13);

        let renamed = PAGE.replace("vllm:num_requests_waiting", "vllm:num_requests_queued");
        let inspection = inspect(renamed.as_bytes(), Engine::Vllm).unwrap();
        let printed = text("page", renamed.len(), &inspection, None);
        assert!(
            printed.contains(
                "vllm:num_requests_waiting is not on the page; \
             the page has vllm:num_requests_queued"
            ),
            "{printed}"
        );
        let json = as_json("page", renamed.len(), &inspection, None);
        assert_eq!(json["signals"][0]["value"], Value::Null);
        assert_eq!(json["signals"][1]["value"], 7.0);
    }

    #[test]
    fn a_gateways_page_comes_with_its_notes() {
        let page = include_str!("../../../../tests/fixtures/gateways/vllm-router-0.1.17-busy.txt");
        let program = recognize_program(page.as_bytes()).unwrap();
        let printed = text("p", page.len(), &inspect(page.as_bytes(), program).unwrap(), None);
        assert!(printed.starts_with("p: vLLM's router"), "{printed}");
        assert!(printed.contains("  InFlightRequests         20 "), "{printed}");
        let note =
            "  note: It has InFlightRequests only with the policy cache_aware, its default.\n";
        assert!(printed.contains(note), "{printed}");
    }

    #[test]
    fn a_page_of_another_program_is_said_to_be_one() {
        const SGLANG: &str =
            include_str!("../../../../tests/fixtures/engines/sglang-0.5.23-collector.txt");
        let printed = |page: &str, program: Program| {
            let inspection = inspect(page.as_bytes(), program).unwrap();
            let json = as_json("p", page.len(), &inspection, None);
            (text("p", page.len(), &inspection, None), json["recognized"].clone())
        };
        // page, program, the hint, the recognized program
        for (page, program, hint, recognized) in [
            (
                SGLANG,
                Engine::Vllm.into(),
                "  it looks like a page of SGLang, and is read as one of vLLM: check the field \
                 engine\n",
                "SGLang",
            ),
            (
                SGLANG,
                Gateway::Smg.into(),
                "(`sglang-router`): check podSelector and the field gateway\n",
                "SGLang",
            ),
            ("up 1\n", Engine::Vllm.into(), "  it has no series of vLLM\n", ""),
        ] {
            let (text, found) = printed(page, program);
            assert!(text.contains(hint), "{hint} is not in:\n{text}");
            assert_eq!(found.as_str().unwrap_or_default(), recognized, "{program:?}");
        }
        for (page, program) in
            [(SGLANG, Engine::Sglang), (PAGE, Engine::Vllm), ("up 1\n", Engine::Custom)]
        {
            let (text, _) = printed(page, program.into());
            assert!(!text.contains("it looks like") && !text.contains("it has no"), "{text}");
        }
    }

    #[test]
    fn an_engine_that_sleeps_is_said_to() {
        let page = |awake: u32, asleep: u32| {
            format!(
                "vllm:engine_sleep_state{{sleep_state=\"awake\"}} {awake}\n\
                 vllm:engine_sleep_state{{sleep_state=\"weights_offloaded\"}} {asleep}\n\
                 vllm:engine_sleep_state{{sleep_state=\"discard_all\"}} 0\n\
                 vllm:num_requests_waiting 0\n"
            )
        };
        for (awake, asleep, sentence, is_asleep) in [
            (0, 1, "\n  the engine sleeps: its replica is neither load nor idle capacity", true),
            (3, 1, "\n  1 of 4 processes of the engine sleep\n", false),
        ] {
            let page = page(awake, asleep);
            let inspection = inspect(page.as_bytes(), Engine::Vllm).unwrap();
            let printed = text("p", page.len(), &inspection, None);
            assert!(printed.contains(sentence), "{printed}");
            let json = as_json("p", page.len(), &inspection, None);
            assert_eq!(json["asleep"], is_asleep);
        }
        let page = page(1, 0);
        let inspection = inspect(page.as_bytes(), Engine::Vllm).unwrap();
        assert!(!text("p", page.len(), &inspection, None).contains("sleep"));
        let inspection = inspect(PAGE.as_bytes(), Engine::Sglang).unwrap();
        assert_eq!(as_json("p", PAGE.len(), &inspection, None)["asleep"], Value::Null);
    }
}
