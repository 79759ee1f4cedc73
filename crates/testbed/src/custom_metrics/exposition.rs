//! Reads one series of a page in the text format. It is deliberately simple and independent of the
//! product's parser, so that a test that uses both reveals an error in either.

/// Returns the sum of a series over its labels; `None` if the page does not have it.
pub(super) fn sum(page: &str, series: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(series)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// Formats a value as a quantity, rounded up to thousandths as the HPA does.
pub(super) fn quantity(value: f64) -> String {
    format!("{}m", (value * 1000.0).ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_summed_over_its_labels() {
        let page = "# HELP waiting Queue.\n# TYPE waiting gauge\nwaiting{engine=\"0\"} 3.0\n\
                    waiting{engine=\"}\"} 4 1700000000\nwaiting_more{engine=\"0\"} 100\nplain 0.25\n";
        for (series, expected) in
            [("waiting", Some(7.0)), ("plain", Some(0.25)), ("wait", None), ("engine", None)]
        {
            assert_eq!(sum(page, series), expected, "{series}");
        }
    }

    #[test]
    fn quantities_are_thousandths() {
        for (value, expected) in [(0.0, "0m"), (3.0, "3000m"), (0.0001, "1m"), (2.5, "2500m")] {
            assert_eq!(quantity(value), expected);
        }
    }
}
