//! What the Helm chart repeats: the version of the workspace, the CRD, the roles, the dashboard and
//! the alerting rules; and the table of its values in `docs/install.md`.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use anyhow::{Context as _, Result};

use crate::checkout::Checkout;

const CHART: &str = "deploy/helm/llm-autoscaler";
/// The page with the table of values.
pub const PAGE: &str = "docs/install.md";
const BEGIN: &str = "<!-- The table of values is written by make values. -->\n";
const END: &str = "<!-- The end of the table of values. -->\n";

/// Returns what the chart has otherwise than the files that it repeats.
///
/// # Errors
/// If a file cannot be read.
pub fn differences(checkout: &Checkout) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let workspace = read(checkout, "Cargo.toml")?;
    let workspace = field(&workspace, "version = \"").context("the workspace has no version")?;
    let chart = read(checkout, &format!("{CHART}/Chart.yaml"))?;
    for name in ["\nversion: ", "\nappVersion: "] {
        if field(&chart, name) != Some(workspace) {
            faults.push(format!("{CHART}/Chart.yaml: {} is not {workspace}", name.trim()));
        }
    }
    let crd = ("crds/llmautoscaler.io_llmautoscalers.yaml", format!("{CHART}/files/crd.yaml"));
    if read(checkout, crd.0)? != read(checkout, &crd.1)? {
        faults.push(format!("{} is not {}: run `make crds`", crd.1, crd.0));
    }
    for file in ["dashboard.json", "rules.yaml"] {
        let (kept, copied) =
            (format!("deploy/monitoring/{file}"), format!("{CHART}/files/monitoring/{file}"));
        if read(checkout, &kept)? != read(checkout, &copied)? {
            faults.push(format!("{copied} is not {kept}: run `make crds`"));
        }
    }
    let (of_config, of_chart) = ("config/rbac", format!("{CHART}/files/rbac"));
    let mut names = names(checkout, of_config)?;
    names.remove("kustomization.yaml");
    names.extend(self::names(checkout, &of_chart)?);
    for name in names {
        let [kept, copied] = [of_config, &of_chart].map(|folder| format!("{folder}/{name}"));
        if read(checkout, &kept).ok() != read(checkout, &copied).ok() {
            faults.push(format!("{copied} is not {kept}: run `make crds`"));
        }
    }
    Ok(faults)
}

/// Returns the page with the table of the values as they are, and the number of values.
///
/// # Errors
/// If a file cannot be read, the page has no place for the table, or a value has no comment.
pub fn page(checkout: &Checkout) -> Result<(String, usize)> {
    let page = read(checkout, PAGE)?;
    let rows = values(&read(checkout, &format!("{CHART}/values.yaml"))?);
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("{PAGE}: no {BEGIN:?}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{PAGE}: no {END:?}"))?;
    let mut table = String::from("| value | default | meaning |\n|---|---|---|\n");
    for Row { path, default, comment } in &rows {
        anyhow::ensure!(!comment.is_empty(), "{CHART}/values.yaml: {path} has no comment");
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        writeln!(table, "| `{path}` | {default} | {} |", comment.replace('|', "\\|"))?;
    }
    Ok((format!("{before}{BEGIN}{table}{END}{after}"), rows.len()))
}

/// A value of the chart.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    path: String,
    /// The default in its file; empty if it takes several lines.
    default: String,
    /// The comment above it, or above the map that it is in.
    comment: String,
}

/// Reads the values of a file in which two spaces indent, and comments are above what they are
/// about.
fn values(file: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    // The keys above the line, from the top, with their comments.
    let mut above: Vec<(String, String)> = Vec::new();
    let mut comment = String::new();
    for line in file.lines() {
        let text = line.trim_start();
        let depth = (line.len() - text.len()) / 2;
        if let Some(more) = text.strip_prefix('#') {
            let space = if comment.is_empty() { "" } else { " " };
            comment = format!("{comment}{space}{}", more.trim());
            continue;
        }
        let entry = text.split_once(':').filter(|_| !text.starts_with("- "));
        if let Some((key, default)) = entry {
            above.truncate(depth);
            above.push((key.to_owned(), std::mem::take(&mut comment)));
            let path: Vec<&str> = above.iter().map(|(key, _)| &**key).collect();
            let own = above.iter().rev().map(|(_, comment)| comment.clone());
            let comment = own.into_iter().find(|comment| !comment.is_empty()).unwrap_or_default();
            let is_parent =
                rows.last().is_some_and(|row| path[..depth].join(".") == row.path && depth > 0);
            if is_parent {
                rows.pop();
            }
            rows.push(Row { path: path.join("."), default: default.trim().to_owned(), comment });
        }
        comment.clear();
    }
    rows
}

fn field<'a>(file: &'a str, before: &str) -> Option<&'a str> {
    file.split_once(before)?.1.split(['"', '\n']).next()
}

fn names(checkout: &Checkout, folder: &str) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(checkout.root().join(folder)).with_context(|| folder.to_owned())?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn read(checkout: &Checkout, name: &str) -> Result<String> {
    fs::read_to_string(checkout.root().join(name)).with_context(|| format!("reading {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_comments() {
        let file = "# The values.\n\n# A name,\n# or none.\nname: \"\"\nimage:\n  # The tag.\n  \
                    tag: 1\nlabels:\n  # All.\n  a: {b: c}\n# A list.\nlist:\n- {x: y}\n";
        let row = |path: &str, default: &str, comment: &str| Row {
            path: path.to_owned(),
            default: default.to_owned(),
            comment: comment.to_owned(),
        };
        let expected = [
            row("name", "\"\"", "A name, or none."),
            row("image.tag", "1", "The tag."),
            row("labels.a", "{b: c}", "All."),
            row("list", "", "A list."),
        ];
        assert_eq!(values(file), expected);
    }
}
