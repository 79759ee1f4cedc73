//! Declared types: the `# TYPE` lines of a page, as far as they are about wanted families.

use super::{line::after_blanks, scan::first_of};
use crate::kind::Kind;

/// A type that a page's `# TYPE` line gives to a family. Other types, such as `untyped`, say
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclaredType {
    /// A value that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Counts of events by size.
    Histogram,
    /// Quantiles of events, with their count and sum.
    Summary,
}

/// The type of the series of one name, by a page's `# TYPE` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The type of the family.
    pub declared: DeclaredType,
    /// The end of the series' name, such as `_count`, if the line is about a family of several
    /// series; empty if it is about the series itself.
    pub suffix: &'static str,
}

/// The ends of names that are below another name's `# TYPE`, and the types that have them. A
/// counter's `_total` is below it in `OpenMetrics`.
const SUFFIXES: [(&str, &[DeclaredType]); 4] = [
    ("_total", &[DeclaredType::Counter]),
    ("_bucket", &[DeclaredType::Histogram]),
    ("_count", &[DeclaredType::Histogram, DeclaredType::Summary]),
    ("_sum", &[DeclaredType::Histogram, DeclaredType::Summary]),
];

impl DeclaredType {
    /// Returns the name of the type in a `# TYPE` line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }

    pub(super) fn parse(word: &[u8]) -> Option<Self> {
        let all = [Self::Counter, Self::Gauge, Self::Histogram, Self::Summary];
        all.into_iter().find(|declared| declared.name().as_bytes() == word)
    }
}

impl Declaration {
    /// Returns the declaration of the series `series` by a line about the family `family`, if the
    /// line is about that series.
    pub(super) fn of(series: &[u8], family: &[u8], declared: DeclaredType) -> Option<Self> {
        let rest = series.strip_prefix(family)?;
        if rest.is_empty() {
            return Some(Self { declared, suffix: "" });
        }
        let (suffix, types) = SUFFIXES.iter().find(|(suffix, _)| suffix.as_bytes() == rest)?;
        types.contains(&declared).then_some(Self { declared, suffix })
    }

    /// Returns true if a series with this declaration is not of this kind.
    pub(super) fn contradicts(self, kind: Kind) -> bool {
        let is_part = !self.suffix.is_empty();
        match (kind, self.declared) {
            (Kind::Gauge, DeclaredType::Gauge)
            | (Kind::Counter | Kind::Histogram, DeclaredType::Counter)
            | (Kind::Histogram, DeclaredType::Histogram) => false,
            // A quantile of a summary goes up and down; its count and sum only grow.
            (Kind::Gauge, DeclaredType::Summary) => is_part,
            (Kind::Counter, DeclaredType::Histogram | DeclaredType::Summary) => !is_part,
            _ => true,
        }
    }

    /// Returns the kind by which a series with this declaration can be read.
    pub fn kind(self) -> Kind {
        let kinds = [Kind::Gauge, Kind::Counter];
        kinds.into_iter().find(|kind| !self.contradicts(*kind)).unwrap_or(Kind::Histogram)
    }

    /// Returns the words for a message: `a gauge`, or `the count of a histogram`.
    pub fn describe(self) -> String {
        let declared = self.declared.name();
        match self.suffix {
            "" | "_total" => format!("a {declared}"),
            part => format!("the {} of a {declared}", part.trim_start_matches('_')),
        }
    }
}

/// A `# TYPE` line with a bare name.
#[derive(Clone, Copy, Debug)]
pub(super) struct TypeLine<'p> {
    pub(super) name: &'p [u8],
    rest: &'p [u8],
}

impl<'p> TypeLine<'p> {
    /// Reads a comment.
    pub(super) fn parse(line: &'p [u8]) -> Option<Self> {
        let rest = after_blanks(line.strip_prefix(b"#")?).strip_prefix(b"TYPE")?;
        let name = after_blanks(rest);
        if name.len() == rest.len() {
            return None;
        }
        let (name, rest) = name.split_at(first_of([b' ', b'\t'], name)?);
        Some(Self { name, rest })
    }

    /// Returns the type, if it says something.
    pub(super) fn declared(self) -> Option<DeclaredType> {
        DeclaredType::parse(after_blanks(self.rest))
    }
}

/// Returns the lengths of the names of a `# TYPE` line that may be about a series: that of its own
/// name, and that of each family that it may be a part of.
pub(super) fn declaring_lengths(series: &[u8]) -> impl Iterator<Item = usize> {
    let of_family = |(suffix, _): &(&str, _)| series.strip_suffix(suffix.as_bytes());
    let families = SUFFIXES.iter().filter_map(of_family).map(<[u8]>::len);
    std::iter::once(series.len()).chain(families)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_line_has_a_name_and_a_type() {
        let table: [(&str, Option<(&str, DeclaredType)>); 8] = [
            ("# TYPE a:b counter", Some(("a:b", DeclaredType::Counter))),
            ("#TYPE  a\tgauge", Some(("a", DeclaredType::Gauge))),
            ("# TYPE a histogram", Some(("a", DeclaredType::Histogram))),
            ("# TYPE a untyped", None),
            ("# TYPE a gauge2", None),
            ("# TYPE a", None),
            ("# TYPEa gauge", None),
            ("# HELP a gauge", None),
        ];
        for (line, expected) in table {
            let found = TypeLine::parse(line.as_bytes());
            let found = found.and_then(|line| Some((line.name, line.declared()?)));
            let expected = expected.map(|(name, declared)| (name.as_bytes(), declared));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_declaration_contradicts_the_kinds_that_it_excludes() {
        use DeclaredType::{Counter, Gauge, Histogram, Summary};
        // series, the family of the line and its type; whether it contradicts gauge, counter and
        // histogram, or is not about the series
        let table = [
            ("a", "a", Gauge, Some([false, true, true])),
            ("a", "a", Counter, Some([true, false, false])),
            ("a", "a", Summary, Some([false, true, true])),
            ("a_count", "a", Histogram, Some([true, false, false])),
            ("a_sum", "a", Summary, Some([true, false, true])),
            ("a_bucket", "a", Histogram, Some([true, false, false])),
            ("a_count", "a_count", Gauge, Some([false, true, true])),
            ("a_total", "a", Counter, Some([true, false, false])),
            ("a_total", "a", Gauge, None),
            ("a_count", "a", Counter, None),
            ("ab", "a", Counter, None),
        ];
        for (series, family, declared, expected) in table {
            let found = Declaration::of(series.as_bytes(), family.as_bytes(), declared);
            assert!(found.is_none_or(|found| !found.contradicts(found.kind())), "{series}");
            let kinds = [Kind::Gauge, Kind::Counter, Kind::Histogram];
            let found = found.map(|found| kinds.map(|kind| found.contradicts(kind)));
            assert_eq!(found, expected, "{series}: {family} {declared:?}");
        }
    }
}
