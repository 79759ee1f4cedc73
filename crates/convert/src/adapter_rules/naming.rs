//! The names that a rule gives to metrics.

use regex::Regex;

/// `name.matches` and `name.as` of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    matches: Regex,
    pattern: String,
    template: String,
}

impl Naming {
    /// Returns the naming of a rule, or why it is none. Without `as` it is the only group of
    /// `matches`, or the whole name.
    pub(crate) fn new(pattern: Option<&str>, template: Option<&str>) -> Result<Self, String> {
        let pattern = pattern.filter(|text| !text.is_empty()).unwrap_or(".*").to_owned();
        let matches = Regex::new(&pattern).map_err(|_| format!("{pattern} is no pattern"))?;
        let template = match (template.filter(|text| !text.is_empty()), matches.captures_len()) {
            (Some(template), _) => template.to_owned(),
            (None, 1) => "$0".to_owned(),
            (None, 2) => "$1".to_owned(),
            (None, _) => return Err("as is needed where matches has several groups".to_owned()),
        };
        Ok(Self { matches, pattern, template })
    }

    /// Returns the name of the metric of a series.
    pub(crate) fn metric(&self, series: &str) -> String {
        if self.pattern == ".*" && self.template == "$0" {
            return series.to_owned();
        }
        // ".*" would match once more at the end of the name.
        let limit = usize::from(self.pattern == ".*");
        self.matches.replacen(series, limit, &self.template).into_owned()
    }

    /// Returns the series that a metric may come from, where `as` has one group and text around it.
    pub(crate) fn series(&self, metric: &str) -> Option<String> {
        let (before, rest) = self.template.split_once('$')?;
        let after = ["{0}", "0", "{1}", "1"].iter().find_map(|group| rest.strip_prefix(group))?;
        let group = metric.strip_prefix(before)?.strip_suffix(after)?;
        let pattern = self.pattern.trim_start_matches('^').trim_end_matches('$');
        let open = ["(.*)", "(.+)"].into_iter().find(|open| pattern.contains(open));
        match open {
            Some(open) => Some(pattern.replacen(open, group, 1)),
            None => Some(group.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_named_and_its_series_found_again() {
        for (pattern, template, series, metric) in [
            (None, None, "a:b", "a:b"),
            (Some("^(.*)_total$"), None, "a_total", "a"),
            (Some("^(.*)_total$"), Some("${1}_per_second"), "a_total", "a_per_second"),
            (Some("vllm:(.+)"), Some("vllm_$1"), "vllm:x", "vllm_x"),
            (Some(".*"), Some("fixed"), "a", "fixed"),
        ] {
            let naming = Naming::new(pattern, template).unwrap();
            assert_eq!(naming.metric(series), metric, "{pattern:?} {template:?}");
            if template != Some("fixed") {
                assert_eq!(naming.series(metric).as_deref(), Some(series), "{pattern:?}");
            }
        }
        assert!(Naming::new(Some("(a)(b)"), None).is_err());
        assert!(Naming::new(Some("("), None).is_err());
    }
}
