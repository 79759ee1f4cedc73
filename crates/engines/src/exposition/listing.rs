//! The series of a page as text, for people.

use std::collections::HashMap;

use memchr::{memchr_iter, memchr2};

use super::{
    declared::{Declaration, DeclaredType},
    line::{Sample, name_of, trim},
};

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

/// The types that a page declares by `# TYPE`, as they are written there.
#[derive(Clone, Debug)]
pub struct DeclaredTypes<'p>(HashMap<&'p [u8], &'p [u8]>);

impl<'p> DeclaredTypes<'p> {
    /// Reads the lines of a page. The first one about a name counts.
    pub fn of(page: &'p [u8]) -> Self {
        let mut types = HashMap::new();
        for line in page.split(|byte| *byte == b'\n') {
            let Some(line) = line.strip_prefix(b"# TYPE ").map(<[u8]>::trim_ascii) else {
                continue;
            };
            if let Some(end) = memchr2(b' ', b'\t', line) {
                types.entry(&line[..end]).or_insert(line[end..].trim_ascii());
            }
        }
        Self(types)
    }

    /// Returns the type of a series. A line about the series itself counts before one about its
    /// family.
    pub fn get(&self, series: &str) -> Option<String> {
        let name = series.as_bytes();
        let of_family = |family: &[u8]| {
            let declared = *self.0.get(family)?;
            let known = DeclaredType::parse(declared)?;
            Declaration::of(name, family, known).map(|_| declared)
        };
        let ends = name.iter().rposition(|byte| *byte == b'_');
        let family = ends.map(|end| &name[..end]);
        let found = self.0.get(name).copied().or_else(|| of_family(family?));
        found.map(|declared| String::from_utf8_lossy(declared).into_owned())
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
    fn a_declared_type_is_that_of_the_series_or_of_its_family() {
        let page = b"# TYPE a gauge\n# TYPE t histogram\n# TYPE c counter\n# TYPE n summary\n\
            # TYPE n_count gauge\n# TYPE u untyped\n";
        for (series, declared) in [
            ("a", Some("gauge")),
            ("t", Some("histogram")),
            ("t_count", Some("histogram")),
            ("c_total", Some("counter")),
            ("n_count", Some("gauge")),
            ("n_sum", Some("summary")),
            ("u", Some("untyped")),
            // A gauge has no count, so that a_count is another series.
            ("a_count", None),
            ("b", None),
        ] {
            assert_eq!(DeclaredTypes::of(page).get(series).as_deref(), declared, "{series}");
        }
    }
}
