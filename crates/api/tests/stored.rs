//! Objects and statuses of earlier releases, as tests/fixtures/crd keeps them: they are read
//! without loss, and what they remember is understood.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use kube::CustomResourceExt;
use llm_autoscaler_api::{LLMAutoscaler, memory::Remembered, parse_spec};
use llm_autoscaler_core::Profile;
use serde_json::Value;

/// Returns the stored objects, each with the name of its file.
fn stored() -> Vec<(String, Value)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/crd");
    let releases = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let folders = releases.filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
    files.flat_map(|file| objects(&file.unwrap().path())).collect()
}

fn objects(file: &PathBuf) -> Vec<(String, Value)> {
    let text = fs::read_to_string(file).unwrap();
    let read = |document: &str| (file.display().to_string(), serde_saphyr::from_str(document));
    let documents = text.split("\n---\n").map(read);
    documents.map(|(name, object)| (name, object.unwrap())).collect()
}

/// Fails if a stored value is not in what has been read from it. What is read may have more:
/// defaults.
fn ensure_kept(stored: &Value, read: &Value, path: &str) {
    match (stored, read) {
        (Value::Object(stored), Value::Object(read)) => {
            for (field, value) in stored {
                let path = format!("{path}.{field}");
                let Some(read) = read.get(field) else { panic!("{path} is lost") };
                ensure_kept(value, read, &path);
            }
        }
        (Value::Array(stored), Value::Array(read)) => {
            assert_eq!(stored.len(), read.len(), "{path} has other entries");
            for (index, (stored, read)) in stored.iter().zip(read).enumerate() {
                ensure_kept(stored, read, &format!("{path}[{index}]"));
            }
        }
        _ => assert!(is_same(stored, read), "{path} was {stored} and is read as {read}"),
    }
}

/// Quantities may be written as numbers; they are read as text.
fn is_same(stored: &Value, read: &Value) -> bool {
    let text = stored.to_string();
    stored == read || read.as_str() == Some(&text)
}

#[test]
fn stored_objects_are_read_without_loss() {
    let objects = stored();
    assert!(objects.len() > 15, "{} objects", objects.len());
    for (file, stored) in objects {
        let name = format!("{file}: {}", stored["metadata"]["name"]);
        let object: LLMAutoscaler = serde_json::from_value(stored.clone()).unwrap();
        parse_spec(&object.spec, Profile::Default).unwrap_or_else(|error| {
            panic!("{name}: {error:?}");
        });
        ensure_kept(&stored, &serde_json::to_value(&object).unwrap(), &name);
    }
}

#[test]
fn stored_memory_is_understood() {
    let (mut targets, mut histories, mut changes, mut wedged) = (0, 0, 0, 0);
    for (file, stored) in stored() {
        let object: LLMAutoscaler = serde_json::from_value(stored).unwrap();
        let its = object.status.map(|status| status.targets).unwrap_or_default();
        for target in &its {
            let uid = target.uid.as_ref().unwrap();
            let remembered = Remembered::decode(&its, uid).unwrap();
            let history = remembered.history.unwrap_or_else(|| panic!("{file}: {}", target.name));
            assert_eq!(history.replicas, Some(target.desired_replicas), "{file}: {}", target.name);
            assert!(!history.recommendations.is_empty(), "{file}: {}", target.name);
            assert!(!history.scale_ups.is_empty(), "{file}: {}", target.name);
            assert!(!remembered.startup_times.seconds().is_empty(), "{file}: {}", target.name);
            targets += 1;
            histories += usize::from(remembered.manual_change.is_some());
            changes += remembered.changes.len();
            wedged += remembered.wedged.len();
        }
    }
    assert!(targets >= 3 && histories >= 1 && changes >= 1 && wedged >= 1);
}

/// Adds the fields of a schema as paths, and its values with lists as NAME=VALUE.
fn add_schema(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for value in schema["enum"].as_array().into_iter().flatten() {
        found.insert(leaf(path, value));
    }
    for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{field}");
        add_schema(schema, &path, found);
        found.insert(path);
    }
    if schema["items"].is_object() {
        add_schema(&schema["items"], path, found);
    }
}

/// Adds the fields of an object as paths, and its texts as NAME=VALUE.
fn add_object(object: &Value, path: &str, found: &mut BTreeSet<String>) {
    match object {
        Value::Object(fields) => {
            for (field, value) in fields {
                let path = format!("{path}.{field}");
                add_object(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| add_object(entry, path, found)),
        _ => {
            found.insert(leaf(path, object));
        }
    }
}

fn leaf(path: &str, value: &Value) -> String {
    let name = path.rsplit('.').next().unwrap_or_default();
    format!("{name}={}", value.as_str().unwrap_or_default())
}

#[test]
fn every_field_is_in_a_stored_object() {
    let crd = serde_json::to_value(LLMAutoscaler::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let (mut fields, mut used) = (BTreeSet::new(), BTreeSet::new());
    add_schema(schema, "", &mut fields);
    assert!(fields.len() > 200, "{} fields", fields.len());
    for (_, object) in stored() {
        add_object(&object["spec"], "", &mut used);
    }
    let missing: Vec<_> = fields.difference(&used).collect();
    assert!(missing.is_empty(), "add to tests/fixtures/crd: {missing:#?}");
}
