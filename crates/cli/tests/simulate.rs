//! `llm-autoscaler simulate`, from the command line to its output.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

mod support;

use std::process::Command;

use serde_json::Value;

/// Runs the subcommand in the root of the repository. Returns its output, or its error.
fn simulate(arguments: &[&str]) -> Result<String, String> {
    support::run(&[&["simulate"], arguments].concat())
}

const TRACE: &str = "--trace=tests/fixtures/traces/azure_code_2023.csv";
const SHAPE: &str = "--arrivals=constant:rate=4,length=300";

#[test]
fn a_trace_has_a_row_for_each_autoscaler() {
    let sample = "--autoscaler=config/samples/in_flight.yaml";
    let table = simulate(&[TRACE, sample, "--policy=static=3", "--policy=kpa=8"]).unwrap();
    let names: Vec<&str> =
        table.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["POLICY", "qwen3", "static=3", "kpa=8"]);
    assert!(table.lines().nth(2).unwrap().contains("3.00"), "{table}");
}

#[test]
fn a_seed_decides_all_numbers_of_the_json() {
    let json = |seed: &str| {
        let arguments = [SHAPE, "--policy=static=1", "-o=json", seed];
        serde_json::from_str::<Value>(&simulate(&arguments).unwrap()).unwrap()
    };
    let first = json("--seed=1");
    assert_eq!(first, json("--seed=1"));
    assert_ne!(first["policies"][0]["ttftP99"], json("--seed=2")["policies"][0]["ttftP99"]);
    let policy = &first["policies"][0];
    assert_eq!(policy["policy"], "static=1");
    assert_eq!(policy["timeline"].as_array().unwrap().len(), 20);
    assert!((policy["gpuHours"].as_f64().unwrap() - 2.0 * 300.0 / 3600.0).abs() < 1e-6);
}

#[test]
fn pictures_are_of_the_same_runs_as_the_table() {
    let file = std::env::temp_dir().join(format!("simulate-{}.html", std::process::id()));
    let html = format!("--html={}", file.display());
    let sample = "--autoscaler=config/samples/in_flight.yaml";
    let arguments = [SHAPE, sample, "--policy=static=2"];
    let table = simulate(&arguments).unwrap();
    assert_eq!(simulate(&[&arguments[..], &[&html]].concat()).unwrap(), table);
    let page = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    for cell in table.lines().skip(1).flat_map(|row| row.split("  ").take(3)) {
        assert!(page.contains(cell.trim().trim_end_matches(" !")), "{cell}");
    }
    assert!(page.contains("constant:rate=4,length=300") && page.contains("needed"));
    let error = simulate(&[SHAPE, "--policy=kpa", "--html=missing/folder.html"]).unwrap_err();
    assert!(error.contains("writing the pictures to missing/folder.html"), "{error}");
}

#[test]
fn a_mistake_is_told_before_anything_is_simulated() {
    let folder = std::env::temp_dir().join(format!("simulate-mistakes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let written = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let sample = std::fs::read_to_string("../../config/samples/in_flight.yaml").unwrap();
    let misspelt = written("misspelt.yaml", &sample.replace("maxReplicas", "maxReplica"));
    let further = sample.replace("  maxReplicas", "  behaviour: {}\n  maxReplicas");
    let further = written("further.yaml", &further);
    let mixed = "arrival_s,input_tokens,output_tokens\n0,9,9\n1700000000,9,9\n";
    let mixed = format!("--trace={}", written("mixed.csv", mixed));
    let table = [
        (vec![SHAPE, "--autoscaler", &misspelt], "spec.maxReplica is no field"),
        (vec![SHAPE, "--autoscaler", &further], "spec.behaviour is no field"),
        (vec![&mixed, "--policy=kpa"], "the load lasts 19676 days"),
        (vec!["--arrivals=constant:rate=3,length=1e12", "--policy=kpa"], "days with its warm-up"),
        (vec!["--arrivals=constant:rate=0,length=60", "--policy=kpa"], "is 0 all the time"),
        (vec![SHAPE, "--policy=kpa", "--percentile=0"], "above 0"),
        (vec![SHAPE, "--policy=kpa", "--html=."], "name a file in a folder"),
    ];
    for (arguments, expected) in table {
        let error = simulate(&arguments).unwrap_err();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    let marked = written("marked.csv", "\u{feff}arrival_s,input_tokens,output_tokens\n0,9,9\n");
    simulate(&[&format!("--trace={marked}"), "--policy=static=1"]).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn no_field_of_a_sample_is_taken_for_a_misspelt_one() {
    let samples = std::fs::read_dir("../../config/samples").unwrap();
    for file in samples.map(|entry| entry.unwrap().path()) {
        let autoscaler = format!("--autoscaler={}", file.canonicalize().unwrap().display());
        let arguments = ["--arrivals=constant:rate=1,length=5", "--warm-up=0", &autoscaler];
        if let Err(error) = simulate(&arguments) {
            assert!(!error.contains("is no field"), "{error}");
        }
    }
}

#[test]
fn the_steps_of_an_autoscaler_are_explained_by_evaluate() {
    let file = std::env::temp_dir().join(format!("simulate-{}.json", std::process::id()));
    let steps = format!("--steps={}", file.display());
    let load = "--arrivals=step:base=2,peak=20,at=60,for=120,length=240";
    let sample = "--autoscaler=config/samples/in_flight.yaml";
    let arguments = [load, sample, "--warm-up=0", "--start=20", "-o=json", &*steps];
    let json: Value = serde_json::from_str(&simulate(&arguments).unwrap()).unwrap();
    let changes = json["policies"][0]["sizeChanges"].as_array().unwrap();
    let input = std::fs::File::open(&file).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_llm-autoscaler"))
        .args(["evaluate", "--explain"])
        .stdin(input)
        .output()
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{output:?}");
    let explained = String::from_utf8(output.stdout).unwrap();
    assert!(explained.starts_with("qwen3\n") && changes.len() > 1, "{changes:?}");
    for change in changes {
        let (t, from, to) = (&change["t"], &change["from"], &change["to"]);
        let (t, to) = (t.as_f64().unwrap(), format!("limited {to} "));
        let line = format!("t={t} {from} replicas: ");
        let step = explained.lines().find(|text| text.starts_with(&line));
        assert!(step.is_some_and(|step| step.contains(&to)), "{line}: {step:?}");
    }
}

#[test]
fn roles_are_those_of_prefill_and_decode() {
    let roles = ["--autoscaler=config/samples/roles.yaml", "--policy=static=4", "-o=json"];
    let sizes = ["--replicas=1", "--decode-replicas=2", "--input=4000"];
    let json = simulate(&[&[SHAPE], &roles[..], &sizes].concat()).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let policies = json["policies"].as_array().unwrap();
    assert_eq!((&policies[0]["policy"], policies.len()), (&"qwen3-pd".into(), 2));
    assert!(policies[0]["timeline"][0]["requested"].as_u64().unwrap() >= 3);
    assert_eq!(policies[0]["unfinished"], 0);
    let slow = ["--kv-transfer=4000"];
    let slow = simulate(&[&[SHAPE], &roles[..], &sizes, &slow].concat()).unwrap();
    let slow: Value = serde_json::from_str(&slow).unwrap();
    let ttft = |json: &Value| json["policies"][0]["ttftP50"].as_f64().unwrap();
    assert!(ttft(&slow) > ttft(&json) + 0.3, "{} and {}", ttft(&slow), ttft(&json));
}

#[test]
fn a_mistake_is_answered_with_what_to_do() {
    for (arguments, expected) in [
        (&[SHAPE][..], "--autoscaler FILE or --policy NAME"),
        (&["--policy=kpa"], "--trace <FILE>|--arrivals <SHAPE>"),
        (&["--trace=missing.csv", "--policy=kpa"], "reading missing.csv"),
        (&["--trace=Cargo.toml", "--policy=kpa"], "its first line is to be"),
        (&["--arrivals=wave:rate=1", "--policy=kpa"], "no shape wave"),
        (&[SHAPE, "--policy=hpa"], "there is no policy hpa"),
        (&[SHAPE, "--policy=hpa"], "apa=0.5 (KV usage, at most 1)"),
        (&[SHAPE, "--policy=hpa"], "clairvoyant"),
        (&[SHAPE, "--policy=kpa:target=9"], "its requests per replica: write kpa=28"),
        (&[SHAPE, "--policy=kpa=9,panic=3"], "the only knob of the policy kpa"),
        (&[SHAPE, "--policy=kpa", "--steps=steps.json"], "--autoscaler"),
        (&[SHAPE, "--policy=slo=1"], "the policy slo has no knob"),
        (&[SHAPE, "--policy=step:base=8,peek=30"], "a shape of the load, and no policy"),
        (&["--arrivals=step:base=8,peek=30", "--policy=kpa"], "it takes base, peak, at"),
        (&[SHAPE, "--policy=kpa", "--copies=2"], "cannot be used with"),
        (&[TRACE, "--policy=kpa", "--input=9"], "cannot be used with"),
        (&[SHAPE, "--policy=kpa", "--percentile=101"], "above 0, up to 100"),
        (&[SHAPE, "--policy=kpa", "--min=9", "--max=2"], "--min=9 is more than --max=2"),
        (&[SHAPE, "--autoscaler=config/samples/workload.yaml"], "of kind StatefulSet"),
        (&[SHAPE, "--policy=kpa", "--profile=h300"], "no engine profile h300"),
        (&[SHAPE, "--policy=kpa", "--cached=2"], "a share from 0 to 1"),
        (&[SHAPE, "--autoscaler=config/samples/roles.yaml", "--max-gpus=8"], "maxGPUs"),
        (&[SHAPE, "--autoscaler=config/samples/to_zero.yaml"], "spec.minReplicas"),
    ] {
        let error = simulate(arguments).unwrap_err();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
