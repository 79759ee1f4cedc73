//! The alerting rules, which `docs/runbook.md` repeats by name.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};

use crate::checkout::Checkout;

const RULES: &str = "deploy/monitoring/rules.yaml";
const TESTS: &str = "deploy/monitoring/rules_test.yaml";
const RUNBOOK: &str = "docs/runbook.md";

/// Returns the number of alerts, and the differences of their unit tests and the runbook from them.
///
/// # Errors
/// If a file cannot be read.
pub fn differences(checkout: &Checkout) -> Result<(usize, Vec<String>)> {
    let [rules, tests, runbook] = [RULES, TESTS, RUNBOOK].map(|name| read(checkout, name));
    let (rules, tests, runbook) = (rules?, tests?, runbook?);
    let alerts = after(&rules, "  - alert: ");
    let mut faults = Vec::new();
    for alert in &alerts {
        for verdict in ["fires", "does not fire"] {
            let name = format!("- name: {alert} {verdict}\n");
            if !tests.contains(&name) {
                faults.push(format!("{TESTS}: no test {name}"));
            }
        }
        let url = format!("runbook_url: {RUNBOOK}#{}\n", alert.to_lowercase());
        if !rules.contains(&url) {
            faults.push(format!("{RULES}: {alert} has no {url}"));
        }
    }
    let sections = after(&runbook, "## ");
    let differences = sections.symmetric_difference(&alerts);
    faults.extend(differences.map(|name| format!("{name} is only in {RULES} or in {RUNBOOK}")));
    Ok((alerts.len(), faults))
}

/// Returns the rests of lines that begin like this.
fn after<'a>(text: &'a str, begin: &str) -> BTreeSet<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(begin)).collect()
}

fn read(checkout: &Checkout, name: &str) -> Result<String> {
    fs::read_to_string(checkout.root().join(name)).with_context(|| format!("reading {name}"))
}
