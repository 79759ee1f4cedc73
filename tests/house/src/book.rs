//! The book: its chapters, the links of all pages, and blocks of commands with their output.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context as _, Result};

use crate::checkout::{Checkout, TextFile};

const SUMMARY: &str = "docs/SUMMARY.md";

/// Returns the pages of `docs` that the table of contents lacks, and its entries without a page.
///
/// # Errors
/// If a file cannot be read.
pub fn missing_chapters(checkout: &Checkout) -> Result<Vec<String>> {
    let summary = fs::read_to_string(checkout.root().join(SUMMARY));
    let summary = summary.with_context(|| format!("reading {SUMMARY}"))?;
    let listed: Vec<String> =
        links(&summary).into_iter().map(|link| format!("docs/{link}")).collect();
    let pages: BTreeSet<String> =
        checkout.files("docs", "md")?.into_iter().map(|page| page.name).collect();
    let mut faults = Vec::new();
    for page in pages.iter().filter(|page| *page != SUMMARY) {
        match listed.iter().filter(|it| *it == page).count() {
            1 => {}
            count => faults.push(format!("{SUMMARY} lists {page} {count} times instead of once")),
        }
    }
    let is_gone = |entry: &&String| !pages.contains(*entry);
    faults.extend(
        listed.iter().filter(is_gone).map(|it| format!("{SUMMARY}: there is no page {it}")),
    );
    Ok(faults)
}

/// Returns the links of pages to files and headings that do not exist, and the number of links.
///
/// # Errors
/// If a file cannot be read.
pub fn broken_links(checkout: &Checkout, pages: &[TextFile]) -> Result<(usize, Vec<String>)> {
    let mut headings: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for page in pages {
        headings.insert(checkout.root().join(&page.name), anchors(&page.text));
    }
    let (mut count, mut faults) = (0, Vec::new());
    for page in pages {
        let path = checkout.root().join(&page.name);
        for link in links(&page.text).into_iter().filter(|link| !is_address(link)) {
            count += 1;
            let (_, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match resolved(&page.name, link) {
                Some(target) => checkout.root().join(target),
                None => path.clone(),
            };
            let is_there = match headings.get(&target) {
                Some(known) => anchor.is_empty() || known.contains(anchor),
                None => target.exists() && anchor.is_empty(),
            };
            if !is_there {
                faults.push(format!("{}: the link {link} leads nowhere", page.name));
            }
        }
    }
    Ok((count, faults))
}

/// Returns blocks of commands with their output that neither name the test that runs them nor say
/// that they were not run, and the number of blocks. Such a block is marked as `console`. A comment
/// `<!-- run by FILE: FUNCTION -->` stands in the line before it, or the paragraph before it has
/// the words "not run here", or "by hand" where it was run and no test repeats that.
pub fn unproven_outputs(checkout: &Checkout, pages: &[TextFile]) -> (usize, Vec<String>) {
    let (mut count, mut faults) = (0, Vec::new());
    for page in pages {
        let lines: Vec<&str> = page.text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let place = format!("{}:{}", page.name, index + 1);
            let next = lines.get(index + 1).map_or("", |next| next.trim());
            if line.trim() == "```console" {
                count += 1;
                let proof = proof(checkout, &lines[..index]);
                faults.extend(proof.err().map(|fault| format!("{place}: {fault}")));
            } else if line.trim().starts_with("```") && next.starts_with("$ ") {
                faults.push(format!("{place}: begin a command with its output with ```console"));
            }
        }
    }
    (count, faults)
}

fn proof(checkout: &Checkout, before: &[&str]) -> Result<(), String> {
    let mut above = before.iter().rev().map(|line| line.trim()).skip_while(|line| line.is_empty());
    let paragraph: Vec<&str> = above.by_ref().take_while(|line| !line.is_empty()).collect();
    let marker = paragraph
        .first()
        .and_then(|line| line.strip_prefix("<!-- run by ")?.strip_suffix(" -->")?.split_once(": "));
    if let Some((file, function)) = marker {
        let text = fs::read_to_string(checkout.root().join(file)).unwrap_or_default();
        let is_there = text.contains(&format!("fn {function}("));
        return is_there.then_some(()).ok_or_else(|| format!("{file} has no test {function}"));
    }
    let text = paragraph.iter().rev().copied().collect::<Vec<_>>().join(" ").to_lowercase();
    let is_marked = ["not run here", "by hand"].iter().any(|words| text.contains(words));
    is_marked.then_some(()).ok_or_else(|| {
        "the output is proven by nothing: name its test in a comment, or write \"not run here\" or \"by hand\""
            .to_owned()
    })
}

fn is_address(link: &str) -> bool {
    link.contains("://") || link.starts_with("mailto:")
}

/// Returns where the inline links of a page lead. Code has none.
fn links(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in prose(page) {
        let outside_of_code = line.split('`').step_by(2);
        // A label may be code, so that the part after it begins with the end of the label.
        for part in outside_of_code.flat_map(|part| part.split("](").skip(1)) {
            found.extend(part.split_once(')').map(|(link, _)| link));
        }
    }
    found
}

/// Returns the lines of a page that are not in a fenced block.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns the anchors of a page's headings. A repeated one gets a number.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for heading in prose(page).filter(|line| line.starts_with('#')) {
        let anchor = anchor(heading.trim_start_matches('#').trim());
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(numbered).find(|it| !found.contains(it));
        found.extend(free);
    }
    found
}

/// Returns the anchor of a heading: its letters, digits, hyphens and underscores, in lower case,
/// and a hyphen for each space.
fn anchor(heading: &str) -> String {
    let text: String =
        heading
            .split("](")
            .enumerate()
            .map(|(index, part)| {
                if index == 0 { part } else { part.split_once(')').map_or(part, |(_, rest)| rest) }
            })
            .collect();
    let letters = text.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ if letter.is_alphanumeric() => Some(letter),
        _ => None,
    });
    letters.collect::<String>().to_lowercase()
}

/// Returns the file to which a link of a page leads, relative to the root of the checkout; none for
/// a heading of the same page and for an address of the web.
pub(crate) fn resolved(page: &str, link: &str) -> Option<String> {
    let (file, _) = link.split_once('#').unwrap_or((link, ""));
    if file.is_empty() || is_address(file) {
        return None;
    }
    let mut folders: Vec<&str> = page.split('/').collect();
    folders.pop();
    for part in file.split('/').filter(|part| !part.is_empty()) {
        match part {
            "." => {}
            ".." => {
                folders.pop();
            }
            other => folders.push(other),
        }
    }
    Some(folders.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{anchor, anchors, links};

    #[test]
    fn links_are_found_outside_of_code() {
        let page = "[a](a.md) and [`b`](b.md#c), `[c](c.md)`\n```\n[d](d.md)\n```\n";
        assert_eq!(links(page), ["a.md", "b.md#c"]);
    }

    #[test]
    fn an_anchor_is_made_of_a_heading() {
        let table = [
            ("To zero and back", "to-zero-and-back"),
            ("`spec.metrics[]`", "specmetrics"),
            ("The operator's own metrics", "the-operators-own-metrics"),
            ("[0.1.0] - soon", "010---soon"),
            ("A [link](x.md) in it", "a-link-in-it"),
        ];
        for (heading, expected) in table {
            assert_eq!(anchor(heading), expected, "{heading}");
        }
        let repeated = anchors("# A\n## A\n");
        assert!(repeated.contains("a") && repeated.contains("a-1"), "{repeated:?}");
    }
}
