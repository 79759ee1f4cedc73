//! The checked-in CRD equals the generated one, and every field has a description.
#![allow(clippy::unwrap_used)]

use std::{path::PathBuf, process::Command};

use serde_json::Value;

fn printed() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_llm-autoscaler")).arg("crd").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_generated_crd_is_checked_in() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../crds/llmautoscaler.io_llmautoscalers.yaml");
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(kept == printed(), "crds/ is out of date: run `make crds`");
}

/// Collects the paths of fields without a description, which `kubectl explain` would show empty.
fn unexplained(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        unexplained(property, &path, found);
    }
    for inner in ["items", "additionalProperties"]
        .map(|key| &schema[key])
        .into_iter()
        .filter(|s| s.is_object())
    {
        unexplained(inner, &format!("{path}[]"), found);
    }
}

/// Collects the paths of fields of the spec that have no limit of their length.
fn unlimited(schema: &Value, path: &str, found: &mut Vec<String>) {
    let lacks = |limit: &str| schema[limit].is_null();
    let is_text = schema["type"] == "string" && lacks("enum") && schema["format"] != "date-time";
    let is_map = schema["additionalProperties"].is_object();
    if is_text && lacks("maxLength")
        || schema["type"] == "array" && lacks("maxItems")
        || is_map && lacks("maxProperties")
    {
        found.push(path.to_owned());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        unlimited(property, &format!("{path}.{name}"), found);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            unlimited(&schema[inner], &format!("{path}[]"), found);
        }
    }
}

#[test]
fn every_list_map_and_text_of_the_spec_has_a_limit() {
    let crd: Value = serde_saphyr::from_str(&printed()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    unlimited(schema, "spec", &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_field_is_explained() {
    let crd: Value = serde_saphyr::from_str(&printed()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut found = Vec::new();
    unexplained(schema, "", &mut found);
    assert!(schema["properties"]["spec"]["properties"]["metrics"].is_object(), "{schema}");
    assert_eq!(found, Vec::<String>::new());
}
