//! The series of a page as text, for people.

use memchr::memchr_iter;

use super::line::{Sample, name_of, trim};
use crate::kind::Kind;

/// A series of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedSeries {
    /// The name.
    pub name: String,
    /// The labels, in the order of the page.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// Returns all well-formed samples of a page, in its order.
pub fn list_series(page: &[u8]) -> Vec<ListedSeries> {
    let mut start = 0;
    let mut listed = Vec::new();
    for end in memchr_iter(b'\n', page) {
        listed.extend(series(trim(&page[start..end])));
        start = end + 1;
    }
    listed
}

fn series(line: &[u8]) -> Option<ListedSeries> {
    let name = name_of(line)?.to_text();
    let Sample { value, labels, .. } = Sample::parse(line).ok()?;
    Some(ListedSeries { name, labels: labels.all(), value })
}

/// Parses a series as PromQL writes it, such as `queue{model="a"}`, into its name and its labels.
/// `None` if it is not one: only labels with equality can be selected.
pub fn parse_series(text: &str) -> Option<(String, Vec<(String, String)>)> {
    let ListedSeries { name, labels, .. } = series(trim(format!("{text} 0").as_bytes()))?;
    Some((name, labels))
}

/// Returns the type that a page declares for the family of this series by `# TYPE`.
pub fn declared_type(page: &[u8], series: &str) -> Option<String> {
    let families = ["", "_total", "_bucket", "_count", "_sum"];
    let families: Vec<&str> =
        families.iter().filter_map(|suffix| series.strip_suffix(suffix)).collect();
    String::from_utf8_lossy(page).lines().find_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.trim().split_once([' ', '\t'])?;
        families.contains(&name).then(|| kind.trim().to_owned())
    })
}

/// Returns the kind of a series: that of its declared type, or else that of its name's ending.
pub fn kind_of(series: &str, declared: Option<&str>) -> Kind {
    let is_part = ["_total", "_count", "_sum", "_bucket"].iter().any(|end| series.ends_with(end));
    match declared {
        Some("histogram") if !is_part => Kind::Histogram,
        Some("gauge") => Kind::Gauge,
        Some("counter" | "histogram" | "summary") => Kind::Counter,
        _ if is_part => Kind::Counter,
        _ => Kind::Gauge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_parsed_as_promql_writes_it() {
        let label = |value: &str| vec![("m".to_owned(), value.to_owned())];
        assert_eq!(parse_series("a"), Some(("a".to_owned(), Vec::new())));
        assert_eq!(parse_series("v:a{m=\"x y\"}"), Some(("v:a".to_owned(), label("x y"))));
        assert_eq!(parse_series(r#"a{m="x\"y"}"#), Some(("a".to_owned(), label("x\"y"))));
        for text in ["", "a b", "a{m=~\"x\"}", "a{m=\"x\"", "sum(a)"] {
            assert_eq!(parse_series(text), None, "{text}");
        }
    }

    #[test]
    fn a_kind_is_that_of_the_declared_type_or_of_the_name() {
        let page = b"# TYPE a gauge\n# TYPE t histogram\n# TYPE c counter\n# TYPE n_count gauge\n";
        for (series, declared, kind) in [
            ("a", Some("gauge"), Kind::Gauge),
            ("t", Some("histogram"), Kind::Histogram),
            ("t_count", Some("histogram"), Kind::Counter),
            ("c_total", Some("counter"), Kind::Counter),
            ("n_count", Some("gauge"), Kind::Gauge),
            ("b", None, Kind::Gauge),
            ("b_total", None, Kind::Counter),
        ] {
            let found = declared_type(page, series);
            assert_eq!(found.as_deref(), declared, "{series}");
            assert_eq!(kind_of(series, declared), kind, "{series}");
        }
    }
}
