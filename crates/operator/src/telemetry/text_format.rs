//! The metrics page in Prometheus' text format 0.0.4, for clients that do not ask for OpenMetrics.

use std::{collections::HashSet, fmt::Write as _};

/// Returns an OpenMetrics page in the text format 0.0.4. There a counter is declared by the name
/// that its samples have, with `_total`, and the page has neither units nor an end mark.
pub(super) fn from_open_metrics(page: &str) -> String {
    let declaration = |line| {
        let (keyword, rest) = str::strip_prefix(line, "# ")?.split_once(' ')?;
        let (name, text) = rest.split_once(' ')?;
        Some((keyword, name, text))
    };
    let counters: HashSet<&str> = page
        .lines()
        .filter_map(declaration)
        .filter_map(|(keyword, name, text)| {
            (keyword == "TYPE" && text == "counter").then_some(name)
        })
        .collect();
    let mut text_format = String::with_capacity(page.len() + 8 * counters.len());
    for line in page.lines() {
        // Writing to a string does not fail.
        let _ = match declaration(line) {
            Some((keyword @ ("HELP" | "TYPE"), name, text)) => {
                let suffix = if counters.contains(name) { "_total" } else { "" };
                writeln!(text_format, "# {keyword} {name}{suffix} {text}")
            }
            Some(_) => Ok(()),
            None if line == "# EOF" => Ok(()),
            None => writeln!(text_format, "{line}"),
        };
    }
    text_format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_declared_by_the_name_of_its_samples() {
        let page = "# HELP scrapes Scrapes, by result.\n# TYPE scrapes counter\n\
                    scrapes_total{result=\"# ok\"} 3\n# HELP pages Pages.\n# TYPE pages gauge\n\
                    # UNIT pages pages\npages 7\n# EOF\n";
        let expected = "# HELP scrapes_total Scrapes, by result.\n# TYPE scrapes_total counter\n\
                        scrapes_total{result=\"# ok\"} 3\n# HELP pages Pages.\n\
                        # TYPE pages gauge\npages 7\n";
        assert_eq!(from_open_metrics(page), expected);
    }
}
