//! docs/conditions.md has a row for every type of a condition, and for every reason.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use llm_autoscaler_api::conditions::{ConditionType, Reason};

/// Returns the cells of every table row of docs/conditions.md.
fn rows() -> Vec<Vec<String>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/conditions.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Returns the rows with this name in the first cell.
fn rows_of(name: &str) -> Vec<Vec<String>> {
    let name = format!("`{name}`");
    rows().into_iter().filter(|row| row[0] == name).collect()
}

#[test]
fn every_type_has_a_row_with_its_polarity() {
    for type_ in ConditionType::ALL {
        let polarity = type_.polarity().as_str();
        let found = rows_of(type_.as_str());
        let types = found.iter().filter(|row| row.len() == 5 && row[1] == polarity);
        assert_eq!(types.count(), 1, "docs/conditions.md, {type_}: {polarity}");
    }
}

#[test]
fn the_types_are_in_the_order_of_a_status() {
    let names: Vec<String> =
        rows().into_iter().filter(|row| row.len() == 5).map(|row| row[0].clone()).collect();
    let expected = ConditionType::ALL.iter().map(|type_| format!("`{type_}`"));
    let documented: Vec<String> = names.into_iter().filter(|name| name.starts_with('`')).collect();
    assert_eq!(documented, expected.collect::<Vec<_>>());
}

#[test]
fn every_reason_has_a_row_with_a_meaning() {
    for reason in Reason::ALL {
        let found = rows_of(reason.as_str());
        let reasons: Vec<_> = found.iter().filter(|row| row.len() == 4).collect();
        assert_eq!(reasons.len(), 1, "docs/conditions.md, {reason}");
        assert!(reasons[0].iter().all(|cell| !cell.is_empty()), "docs/conditions.md, {reason}");
    }
}

#[test]
fn every_reason_in_the_docs_exists() {
    for row in rows().iter().filter(|row| row.len() == 4 && row[0].starts_with('`')) {
        let name = row[0].trim_matches('`');
        assert!(Reason::ALL.iter().any(|reason| reason.as_str() == name), "{name}");
    }
}
