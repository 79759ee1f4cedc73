//! Conversions of the files in `tests/fixtures/convert`, which have every documented field of each
//! kind, beside the results that are expected.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use llm_autoscaler_api::{LLMAutoscaler, parse_spec};
use llm_autoscaler_convert::{CommentKind, Document, Options, Report, convert, read};
use llm_autoscaler_core::Profile;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/convert")
}

/// Returns the names of the fixtures and their texts.
fn fixtures() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    assert!(found.len() >= 10, "only {} fixtures were found", found.len());
    found
}

fn documents(name: &str, text: &str) -> Vec<Document> {
    read(name, text).unwrap()
}

fn converted(documents: &[Document]) -> Report {
    convert(documents, Options::default()).unwrap()
}

fn report(name: &str) -> Report {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    converted(&documents(name, &text))
}

#[test]
fn fixtures_become_what_is_expected() {
    let mut wrong = Vec::new();
    for (name, text) in fixtures() {
        let printed = converted(&documents(&name, &text)).yaml();
        let path = folder().join("expected").join(&name);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &printed).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != printed {
            wrong.push(name);
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:?} differ from tests/fixtures/convert/expected; if this is right, write them anew: \
         UPDATE=1 cargo test -p llm-autoscaler-convert --test fixtures"
    );
}

#[test]
fn results_are_read_back_and_accepted() {
    let mut count = 0;
    for (name, text) in fixtures() {
        let report = converted(&documents(&name, &text));
        let printed: Vec<Option<LLMAutoscaler>> =
            serde_saphyr::from_multiple(&report.yaml()).unwrap();
        let objects: usize = report.conversions.iter().map(|it| it.objects.len()).sum();
        assert_eq!(printed.iter().flatten().count(), objects, "{name}");
        for object in printed.iter().flatten() {
            parse_spec(&object.spec, Profile::Default).unwrap();
            count += 1;
        }
    }
    assert!(count >= 15, "only {count} objects");
}

/// The guide that this project replaces scales by the queue; README shows that object at work.
#[test]
fn the_guide_becomes_the_object_of_the_documentation() {
    let report = report("guide.yaml");
    assert!(report.losses().is_empty(), "{:?}", report.losses());
    let page = include_str!("../../../docs/monitoring.md");
    let expected = page
        .split("```yaml\n")
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .find(|block| {
            block.contains("kind: LLMAutoscaler\n")
                && block.contains("To keep using your Prometheus")
        })
        .unwrap();
    let expected: Value = serde_saphyr::from_str(expected).unwrap();
    let objects: Vec<&Value> = report.conversions.iter().flat_map(|it| &it.objects).collect();
    assert_eq!(*objects[0], expected);
    assert_eq!(objects[1]["spec"]["engine"], "SGLang");
}

/// Returns the printed lines that are no comments.
fn plain(printed: &str) -> Vec<&str> {
    let is_plain = |line: &&str| !line.starts_with('#') && *line != "---" && !line.is_empty();
    printed.lines().filter(is_plain).collect()
}

#[test]
fn the_first_object_of_readme_is_printed_as_it_stands_there() {
    let readme = include_str!("../../../README.md");
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split_once("```")).unwrap();
    let expected: Vec<String> = plain(block.0)
        .into_iter()
        .map(|line| line.split_once("    #").map_or(line, |(line, _)| line).to_owned())
        .collect();
    assert_eq!(plain(&report("readme.yaml").yaml()), expected);
}

/// A path to a value within a document.
type Path_ = Vec<Step>;

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// Collects the paths of all maps, and those of all scalars.
fn paths(value: &Value, path: &Path_, maps: &mut Vec<Path_>, scalars: &mut Vec<Path_>) {
    let below = |step: Step| [path.clone(), vec![step]].concat();
    match value {
        Value::Object(map) => {
            maps.push(path.clone());
            for (key, value) in map {
                paths(value, &below(Step::Key(key.clone())), maps, scalars);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                paths(value, &below(Step::Index(index)), maps, scalars);
            }
        }
        _ => scalars.push(path.clone()),
    }
}

fn at<'a>(value: &'a mut Value, path: &[Step]) -> &'a mut Value {
    path.iter().fold(value, |value, step| match step {
        Step::Key(key) => &mut value[key],
        Step::Index(index) => &mut value[*index],
    })
}

/// Returns whether a comment names a key.
fn told(report: &Report, key: &str) -> bool {
    let all = report.conversions.iter().flat_map(|it| &it.comments);
    all.into_iter().any(|it| it.field.contains(key) || it.text.contains(key))
}

#[test]
fn an_unknown_field_never_vanishes() {
    const KEY: &str = "zebra";
    let mut count = 0;
    for (name, text) in fixtures() {
        let documents = documents(&name, &text);
        for index in 0..documents.len() {
            if is_skipped(&documents[index].value) {
                continue;
            }
            let (mut maps, mut scalars) = (Vec::new(), Vec::new());
            paths(&documents[index].value, &Vec::new(), &mut maps, &mut scalars);
            for path in maps.iter().filter(|path| !is_written(path)) {
                let mut changed = documents.clone();
                at(&mut changed[index].value, path)[KEY] = "stripes".into();
                let report = converted(&changed);
                assert!(
                    told(&report, KEY) || report.yaml().contains("stripes"),
                    "{name}, document {index}: {path:?}.{KEY} vanished"
                );
                count += 1;
            }
        }
    }
    assert!(count > 300, "only {count} fields were added");
}

/// Returns whether one comment on the whole document is the reason why it is not converted.
fn is_skipped(document: &Value) -> bool {
    let is_other = ["Deployment", "LLMInferenceService", "PodMonitor"]
        .iter()
        .any(|kind| document["kind"] == *kind);
    is_other || document["metadata"]["ownerReferences"].is_array()
}

/// Returns whether the API server writes the values below a path, or a controller does.
fn is_written(path: &[Step]) -> bool {
    let keys: Vec<&str> = path
        .iter()
        .filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    match keys[..] {
        ["metadata", "annotations", key] => {
            key.starts_with("kubectl.kubernetes.io") || key.ends_with("kubernetes.io/conditions")
        }
        ["status" | "metadata", ..] => {
            const WRITTEN: [&str; 5] =
                ["uid", "resourceVersion", "creationTimestamp", "finalizers", "ownerReferences"];
            keys[0] == "status" || keys.get(1).is_some_and(|key| WRITTEN.contains(key))
        }
        _ => false,
    }
}

/// Returns why a change of a value is none for the result.
fn is_without_meaning(path: &[Step]) -> Option<&'static str> {
    let last = match path.last() {
        Some(Step::Key(key)) => key.as_str(),
        _ => "",
    };
    let has = |wanted: &str| path.iter().any(|it| matches!(it, Step::Key(key) if key == wanted));
    match last {
        "apiVersion" if path.len() == 1 => Some("only its group decides"),
        "apiVersion" if has("describedObject") => Some("the kind decides"),
        "group" => Some("of a resource of a rule"),
        "replicas" if path.len() == 1 => Some("of the adapter itself, named by a comment"),
        _ => None,
    }
}

#[test]
fn each_value_of_the_input_has_an_effect_or_a_comment() {
    let (mut count, mut silent) = (0, BTreeSet::new());
    for (name, text) in fixtures() {
        let documents = documents(&name, &text);
        let before = converted(&documents).yaml();
        for index in 0..documents.len() {
            if is_skipped(&documents[index].value) {
                continue;
            }
            let (mut maps, mut scalars) = (Vec::new(), Vec::new());
            paths(&documents[index].value, &Vec::new(), &mut maps, &mut scalars);
            let scalars = scalars.into_iter().filter(|path| !is_written(path));
            for path in scalars.filter(|path| is_without_meaning(path).is_none()) {
                let mut changed = documents.clone();
                let value = at(&mut changed[index].value, &path);
                let was = value.clone();
                *value = other(value);
                let after = convert(&changed, Options::default()).map(|report| report.yaml());
                if after.is_ok_and(|after| after == before) {
                    silent.insert(format!("{name}, document {index}: {path:?} {was}"));
                }
                count += 1;
            }
        }
    }
    let silent: Vec<String> = silent.into_iter().collect();
    assert!(silent.is_empty(), "{} of {count}:\n{}", silent.len(), silent.join("\n"));
    assert!(count > 500, "only {count} values were changed");
}

/// Returns another value of the same type.
fn other(value: &Value) -> Value {
    match value {
        Value::Bool(flag) => (!flag).into(),
        Value::Number(number) => (number.as_i64().unwrap_or(1) + 1).into(),
        Value::String(text) => match (text.as_str(), text.parse::<f64>()) {
            ("true", _) => "false".into(),
            ("false", _) => "true".into(),
            (_, Ok(number)) => (number + 1.0).to_string().into(),
            _ => format!("{text}x").into(),
        },
        _ => Value::Null,
    }
}

/// Values that no one expects, in each place.
#[test]
fn no_value_breaks_a_conversion() {
    let strange = [
        Value::Null,
        Value::Bool(true),
        i64::MIN.into(),
        u64::MAX.into(),
        f64::MAX.into(),
        "".into(),
        "\u{0}\u{7f}\u{2028}\n---\nkind: Pod\n".into(),
        "<<.Series>>{{<<".into(),
        "((((((((".into(),
        "é".repeat(100).into(),
        serde_json::json!([[], {}]),
        serde_json::json!({"a": {"b": []}}),
    ];
    let mut turn = 0;
    for (name, text) in fixtures() {
        let documents = documents(&name, &text);
        for index in 0..documents.len() {
            let (mut maps, mut scalars) = (Vec::new(), Vec::new());
            paths(&documents[index].value, &Vec::new(), &mut maps, &mut scalars);
            // A part of the places, so that the test takes seconds.
            for path in maps.iter().chain(&scalars).skip(index % 3).step_by(3) {
                let mut changed = documents.clone();
                *at(&mut changed[index].value, path) = strange[turn % strange.len()].clone();
                turn += 1;
                let Ok(report) = convert(&changed, Options::default()) else { continue };
                let read: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&report.yaml());
                let objects: usize = report.conversions.iter().map(|it| it.objects.len()).sum();
                let read = read.unwrap().iter().filter(|it| !it.is_null()).count();
                assert_eq!(read, objects, "{name}: {path:?}\n{}", report.yaml());
            }
        }
    }
}

#[test]
fn what_is_missing_is_told_with_its_place() {
    let losses = report("other.yaml").losses();
    let first =
        "other.yaml, document 1: Deployment chat: Not expressed: this kind is not converted.";
    assert!(losses[0].starts_with(first), "{losses:#?}");
    for part in ["spec.dance", "spec.minReplicas", "spec.scaleTargetRef.flavour"] {
        let text =
            format!("other.yaml, document 3: HorizontalPodAutoscaler odd: Not understood, {part}");
        assert!(losses.iter().any(|loss| loss.starts_with(&text)), "{part}: {losses:#?}");
    }
    assert!(losses.iter().any(|loss| loss.contains("requests_per_second")), "{losses:#?}");
}

#[test]
fn nothing_is_scaled_while_a_metric_is_missing() {
    for (name, text) in fixtures() {
        for conversion in converted(&documents(&name, &text)).conversions {
            let is_left_out = |field: &str| {
                field.starts_with("spec.metrics[")
                    || field.starts_with("spec.triggers[")
                    || field.starts_with("spec.metricsSources[")
            };
            let lost = conversion.comments.iter().any(|it| {
                it.kind == CommentKind::NotExpressed
                    && is_left_out(&it.field)
                    && it.field.ends_with(']')
                    && it.text.contains(['.'])
            });
            for object in conversion.objects.iter().filter(|_| lost) {
                let paused = &object["metadata"]["annotations"]["llmautoscaler.io/paused"];
                assert_eq!(paused, "true", "{name}: {object}");
            }
        }
    }
}

#[test]
fn credentials_stay_out_of_the_results() {
    let text = fs::read_to_string(folder().join("guide.yaml")).unwrap();
    let text = text.replace("#    prometheusHeader:", "    prometheusHeader:");
    let text = text.replace("#    - Authorization: xxxxxxx", "    - Authorization: secret-value");
    let report = converted(&documents("guide.yaml", &text));
    assert!(!report.yaml().contains("secret-value"), "{}", report.yaml());
    let names: Vec<&str> =
        report.comments(CommentKind::Changed).map(|comment| comment.field.as_str()).collect();
    assert!(names.contains(&"AlibabaCloudMetricsAdapter.prometheus.prometheusHeader"), "{names:?}");
}
