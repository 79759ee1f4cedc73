//! The names under which a server has the series of a recipe, which may be others than the page's.
//!
//! - `x`, a native histogram, in place of `x_bucket`, `x_count` and `x_sum`: Prometheus converts
//!   classic histograms, or the engine exposes native ones.
//! - `x_ratio` in place of a gauge `x` that is a share: it came by OTLP, and its unit is `1`.

use std::borrow::Cow;

use super::{
    Series,
    histogram::{Part, classic},
};
use crate::{
    kind::{Fold, Kind},
    recipe::{Recipe, Selector},
};

/// The suffix that the translation of OTLP gives to gauges of the unit `1`.
const RATIO: &str = "_ratio";

/// Returns the names to query a server for: those on the page, and those that a server makes of
/// them. A name may be there twice.
pub fn stored_names(recipe: &Recipe) -> impl Iterator<Item = String> {
    recipe.families().flat_map(|name| {
        let other = other_name(recipe, &name);
        std::iter::once(name).chain(other)
    })
}

/// Returns the name that a server may give to a series, other than the page's.
fn other_name(recipe: &Recipe, name: &str) -> Option<String> {
    match recipe.kind() {
        Kind::Gauge => (recipe.fold() == Fold::Mean).then(|| format!("{name}{RATIO}")),
        Kind::Counter | Kind::Histogram => {
            Part::of(name).map(|(histogram, _)| histogram.to_owned())
        }
    }
}

/// A family of a recipe, and the selectors that read it.
pub(super) struct Family<'r> {
    recipe: &'r Recipe,
    name: String,
    selectors: Vec<&'r Selector>,
}

impl<'r> Family<'r> {
    /// Returns the families of a recipe's terms, each once.
    pub(super) fn all_of(recipe: &'r Recipe) -> Vec<Self> {
        let mut families: Vec<Self> = Vec::new();
        for selector in recipe.terms().iter().flatten() {
            let own = recipe.kind().family(&selector.name);
            for name in std::iter::once(own).chain(selector.scale.over.clone()) {
                match families.iter_mut().find(|family| family.name == name) {
                    Some(family) => family.selectors.push(selector),
                    None => families.push(Self { recipe, name, selectors: vec![selector] }),
                }
            }
        }
        families
    }

    /// Returns the series of this family among those of a pod, with the page's name. If the server
    /// has it under two names, the one with the latest sample counts, and the page's if both were
    /// scraped at the same time.
    pub(super) fn series<'s>(&self, pod: &'s [Series]) -> Vec<Cow<'s, Series>> {
        let own = |series: &&Series| *series.name == *self.name && series.histograms.is_empty();
        let own: Vec<&Series> =
            pod.iter().filter(|series| self.selects(series)).filter(own).collect();
        let Some(other) = other_name(self.recipe, &self.name) else { return borrowed(own) };
        let part = Part::of(&self.name).filter(|_| self.recipe.kind() != Kind::Gauge);
        let others = pod.iter().filter(|series| {
            let is_native = !series.histograms.is_empty();
            *series.name == *other && is_native == part.is_some() && self.selects(series)
        });
        let others: Vec<&Series> = others.collect();
        if others.is_empty() || latest(&others) <= latest(&own) {
            return borrowed(own);
        }
        let renamed: Vec<Series> = if let Some((_, part)) = part {
            classic(&others, &self.name, part)
        } else {
            let rename =
                |series: &Series| Series { name: self.name.as_str().into(), ..series.clone() };
            others.into_iter().map(rename).collect()
        };
        renamed.into_iter().map(Cow::Owned).collect()
    }

    fn selects(&self, series: &Series) -> bool {
        self.selectors.iter().any(|selector| selector.matches(&series))
    }
}

fn borrowed(series: Vec<&Series>) -> Vec<Cow<'_, Series>> {
    series.into_iter().map(Cow::Borrowed).collect()
}

/// Returns the time of the latest sample of all these series.
fn latest(series: &[&Series]) -> f64 {
    let times = series.iter().filter_map(|series| series.times().last());
    times.fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prometheus::Histogram;

    fn recipe(kind: Kind, name: &str) -> Recipe {
        let fold = if name.starts_with("share") { Fold::Mean } else { Fold::Sum };
        Recipe::new(kind, vec![vec![Selector::new(name, [])]], fold)
    }

    fn series(name: &str, times: &[f64], is_native: bool) -> Series {
        let (samples, histograms) = if is_native {
            let found = Histogram { count: 9.0, ..Histogram::default() };
            (Vec::new(), times.iter().map(|at| (*at, found.clone())).collect())
        } else {
            (times.iter().map(|at| (*at, 5.0)).collect(), Vec::new())
        };
        Series { name: name.into(), labels: Vec::new(), samples, histograms }
    }

    #[test]
    fn a_server_is_queried_for_its_own_names_too() {
        let table: [(Kind, &str, &[&str]); 5] = [
            (Kind::Gauge, "share", &["share", "share_ratio"]),
            (Kind::Gauge, "q_count", &["q_count"]),
            (Kind::Counter, "t_total", &["t_total"]),
            (Kind::Counter, "t_count", &["t_count", "t"]),
            (Kind::Histogram, "t", &["t_bucket", "t"]),
        ];
        for (kind, name, expected) in table {
            assert_eq!(stored_names(&recipe(kind, name)).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn the_name_with_the_latest_sample_counts() {
        let values = |kind, name, pod: &[Series]| {
            let recipe = recipe(kind, name);
            let found = Family::all_of(&recipe)[0].series(pod).into_iter();
            let found = found.filter(|series| series.label("le") != Some("0.0"));
            found.map(|series| (series.name.clone(), series.samples.clone())).collect::<Vec<_>>()
        };
        let (old, new) = (&[1.0, 2.0][..], &[1.0, 2.0, 3.0][..]);
        let named = |name: &str, at: f64, value: f64| vec![(Arc::from(name), vec![(at, value)])];
        let table = [
            (Kind::Histogram, "t", vec![series("t", &[1.0], true)], named("t_bucket", 1.0, 9.0)),
            (Kind::Counter, "t_count", vec![series("t", &[1.0], true)], named("t_count", 1.0, 9.0)),
            (
                Kind::Gauge,
                "share",
                vec![series("share_ratio", &[1.0], false)],
                named("share", 1.0, 5.0),
            ),
            // A gauge of a histogram's name is no histogram, and a histogram is no gauge.
            (Kind::Gauge, "share", vec![series("share_ratio", &[1.0], true)], vec![]),
            (Kind::Histogram, "t", vec![series("t", &[1.0], false)], vec![]),
            (Kind::Counter, "t_total", vec![series("t", &[1.0], true)], vec![]),
        ];
        for (kind, name, pod, expected) in table {
            assert_eq!(values(kind, name, &pod), expected, "{kind:?} {name}");
        }
        let both = |classic, native| {
            let pod = [series("t_bucket", classic, false), series("t", native, true)];
            values(Kind::Histogram, "t", &pod)[0].1.last().copied()
        };
        assert_eq!(both(new, new), Some((3.0, 5.0)), "both are scraped");
        assert_eq!(both(old, new), Some((3.0, 9.0)), "the server converts them since then");
        assert_eq!(both(new, old), Some((3.0, 5.0)), "it does not any more");
    }

    #[test]
    fn two_selectors_of_a_family_read_a_series_once() {
        let selector =
            |model: &str| Recipe::series(Kind::Gauge, "q", [("m".to_owned(), model.to_owned())]);
        let recipe = selector("a").plus(selector("a")).plus(selector("b"));
        let mut a = series("q", &[1.0], false);
        a.labels.push(("m".into(), "a".into()));
        let families = Family::all_of(&recipe);
        assert_eq!(families.len(), 1);
        assert_eq!(families[0].series(&[a, series("q", &[1.0], false)]).len(), 1);
    }
}
