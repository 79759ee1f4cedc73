//! The versions that `docs/versions.md` repeats from the files that pin them.

use std::fs;

use anyhow::{Context as _, Result};

use crate::checkout::{Checkout, TextFile};

/// A pin, and the row of the page that repeats it.
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    /// The file that pins the version.
    pub file: &'static str,
    /// The text before the version.
    pub before: &'static str,
    /// The begin of the row's first cell.
    pub part: &'static str,
    /// The way in which the page writes the version.
    pub style: Style,
}

/// The way in which a page writes a pinned version.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// As it is pinned.
    Same,
    /// Prometheus 3.16.0 is the Go module v0.316.0.
    Prometheus,
    /// The day of a pseudo-version's commit: `…-0.20260423142704-…` is 23 April 2026.
    Day,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Returns what the page says otherwise than the pins, and the files of pins without a row.
///
/// # Errors
/// If a file cannot be read.
pub fn differences(checkout: &Checkout, pins: &[Pin]) -> Result<Vec<String>> {
    let page = read(checkout, "docs/versions.md")?;
    let mut faults = Vec::new();
    for pin in pins {
        let pinned = pinned(&read(checkout, pin.file)?, pin.before)
            .with_context(|| format!("{} does not pin {:?}", pin.file, pin.before))?;
        let version = pin.style.write(&pinned);
        let version = version.with_context(|| format!("{}: the version {pinned}", pin.file))?;
        if !is_in_row(&page, pin.part, &version) {
            faults.push(format!(
                "docs/versions.md: no row that begins with {:?} has {version}, which {} pins",
                pin.part, pin.file
            ));
        }
    }
    let mut files = checkout.files("tests", "mod")?;
    files.extend(checkout.files("tests", "lock")?);
    let is_pinning = |file: &&TextFile| {
        ["/go.mod", "/requirements.lock"].iter().any(|end| file.name.ends_with(end))
    };
    for TextFile { name, .. } in files.iter().filter(is_pinning) {
        if !pins.iter().any(|pin| pin.file == *name) {
            faults.push(format!("no row of PINS names {name}"));
        }
    }
    Ok(faults)
}

fn read(checkout: &Checkout, name: &str) -> Result<String> {
    fs::read_to_string(checkout.root().join(name)).with_context(|| format!("reading {name}"))
}

/// Returns the version after a text, without `v`; comments do not count.
fn pinned(file: &str, before: &str) -> Option<String> {
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    let mut rests = lines.filter_map(|line| line.split_once(before));
    let (_, rest) = rests.find(|(_, rest)| rest.starts_with(['v', '0', '1', '2', '3']))?;
    let version = rest.split_whitespace().next()?;
    Some(version.trim_start_matches('v').to_owned())
}

impl Style {
    fn write(self, pinned: &str) -> Option<String> {
        match self {
            Self::Same => Some(pinned.to_owned()),
            Self::Prometheus => {
                let (_, rest) = pinned.split_once('.')?;
                let (number, patch) = rest.split_once('.')?;
                let number: u32 = number.parse().ok()?;
                Some(format!("{}.{}.{patch}", number / 100, number % 100))
            }
            Self::Day => {
                let (_, commit) = pinned.split_once("-0.")?;
                let day = |at: std::ops::Range<usize>| commit.get(at)?.parse::<usize>().ok();
                let month = MONTHS.get(day(4..6)?.checked_sub(1)?)?;
                Some(format!("{} {month} {}", day(6..8)?, day(0..4)?))
            }
        }
    }
}

/// Returns whether a row of a table in the page begins with a text, and has a version in its
/// second cell. Where a version is followed by a digit or a dot with a digit, it is another one.
fn is_in_row(page: &str, part: &str, version: &str) -> bool {
    let mut rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    rows.any(|(first, rest)| {
        let cell = rest.split('|').next().unwrap_or_default();
        let words = cell.split([' ', ',']).collect::<Vec<_>>();
        let wanted = version.split(' ').collect::<Vec<_>>();
        first.starts_with(part) && words.windows(wanted.len()).any(|found| found == wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::{Style, is_in_row, pinned};

    #[test]
    fn a_pin_is_read_and_written_as_the_page_does() {
        let module = "require (\n\tk8s.io/kubernetes/cmd/kubectl\n\tk8s.io/kubernetes v1.37.2\n)";
        assert_eq!(pinned(module, "k8s.io/kubernetes ").unwrap(), "1.37.2");
        assert_eq!(pinned("# smg==1\nsmg==1.13.0 \\\n", "smg==").unwrap(), "1.13.0");
        assert_eq!(pinned("", "smg=="), None);
        let table = [
            (Style::Same, "1.37.2", Some("1.37.2")),
            (Style::Prometheus, "0.316.0", Some("3.16.0")),
            (Style::Prometheus, "3", None),
            (Style::Day, "1.3.1-0.20260423142704-aced80d74930", Some("23 April 2026")),
            (Style::Day, "1.3.1", None),
        ];
        for (style, pinned, expected) in table {
            assert_eq!(style.write(pinned).as_deref(), expected, "{style:?} {pinned}");
        }
    }

    #[test]
    fn a_row_has_a_version_or_another_one() {
        let page =
            "| etcd | 3.7.0 | run |\n| LWS | 0.8.0 and 0.9.0, both | |\n| vLLM | 0.15.1, CPU |";
        let table = [
            ("etcd", "3.7.0", true),
            ("etcd", "3.7", false),
            ("etcd", "3.7.1", false),
            ("LWS", "0.9.0", true),
            ("vLLM", "0.15.1", true),
            ("other", "3.7.0", false),
        ];
        for (part, version, expected) in table {
            assert_eq!(is_in_row(page, part, version), expected, "{part} {version}");
        }
    }
}
