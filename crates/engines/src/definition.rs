//! Definitions: how one engine reports one signal.

use std::fmt::Write;

use crate::{
    kind::{Fold, Kind},
    labels::LabelRule,
    recipe::{Absence, IdleProof, Recipe, Scale, Selector, Standing},
    signal::Signal,
};

/// The definition of a signal by the series of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalDef {
    /// The signal that is defined.
    pub signal: Signal,
    /// The summands. If one is absent, so is the signal: half of a sum would pass for low load.
    pub terms: &'static [Term],
    /// The rule by which several series of one family on one page become one number, per term.
    pub fold: Fold,
}

/// A summand of a signal: the names that a series has had, the newest first.
///
/// The first name that is on a page counts. They are never added, because versions in the middle of
/// a rename publish the same number under both names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term(pub &'static [Alternative]);

/// The name of a series in some versions of an engine, or on one of its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alternative {
    /// The full name of the series; a histogram's is without `_bucket`.
    pub series: &'static str,
    /// Labels that the series must have, with their values.
    pub labels: &'static [(&'static str, &'static str)],
    /// Labels with values that the series is not allowed to have.
    pub except: &'static [(&'static str, &'static [&'static str])],
    /// The number that is subtracted from the sum of the series, see [`Scale::less`].
    pub less: u32,
    /// The number of the series' units in the signal's, see [`Scale::per`].
    pub per: u32,
    /// The series by which it is divided, see [`Scale::over`].
    pub over: Option<&'static str>,
    /// The labels with numbers that each value is multiplied by, see [`Scale::times`].
    pub times: &'static [&'static str],
    /// The versions, or the page, that have this name, as text for the documentation.
    pub versions: &'static str,
    /// If the name is in use or has been replaced.
    pub standing: Standing,
}

/// A page that proves that its engine has had no request yet, and so has none now.
///
/// Some engines publish a gauge only once it has been set. The conditions must exclude every page
/// of an engine that has ever had a request: all of them have to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdleRule {
    /// The signals that are 0 on such a page, where their series are absent.
    pub signals: &'static [Signal],
    /// Series that are on the page, all of them at 0.
    pub zero: &'static [Alternative],
    /// Series that are on the page, with any value.
    pub present: &'static [Alternative],
    /// Series that are not on the page.
    pub without: &'static [Alternative],
    /// The beginning of a name that a sample or a comment of the page has. Needed where `zero` and
    /// `present` are empty, because an empty page proves nothing.
    pub prefix: Option<&'static str>,
}

impl IdleRule {
    /// A rule without conditions, to be completed: as it is, it proves nothing about any signal.
    pub(crate) const NONE: Self =
        Self { signals: &[], zero: &[], present: &[], without: &[], prefix: None };

    fn proof(&self) -> IdleProof {
        IdleProof {
            zero: self.zero.iter().map(selector).collect(),
            present: self.present.iter().map(selector).collect(),
            without: self.without.iter().map(selector).collect(),
            prefix: self.prefix,
        }
    }
}

impl SignalDef {
    /// Returns the recipe that reads the signal from a page. `repeat_labels` are labels by which
    /// the engine repeats a series, see [`Recipe::with_repeat_labels`].
    pub(crate) fn recipe(&self, repeat_labels: &[&str], idle_rules: &[IdleRule]) -> Recipe {
        recipe(self.signal.info().kind, self.terms, self.fold)
            .with_repeat_labels(repeat_labels.iter().map(|label| (*label).to_owned()))
            .with_absence(self.absence(idle_rules))
    }

    /// Returns the recipe that reads one of the signal's series alone, by its name; `None` if the
    /// signal does not read it.
    pub(crate) fn recipe_of_series(
        &self,
        series: &str,
        repeat_labels: &[&str],
        idle_rules: &[IdleRule],
    ) -> Option<Recipe> {
        let mut names = self.terms.iter().flat_map(|term| term.0);
        let name = names.find(|name| name.series == series)?;
        // Of a sum, the absence of one summand proves nothing.
        let is_alone = self.terms.len() == 1;
        let absence = if is_alone { self.absence(idle_rules) } else { Absence::Unknown };
        let recipe = recipe_of_names(self.signal.info().kind, &[&[*name]], self.fold);
        let repeats = repeat_labels.iter().map(|label| (*label).to_owned());
        Some(recipe.with_repeat_labels(repeats).with_absence(absence))
    }

    fn absence(&self, idle_rules: &[IdleRule]) -> Absence {
        let rules = idle_rules.iter().filter(|rule| rule.signals.contains(&self.signal));
        let proofs: Vec<IdleProof> = rules.map(IdleRule::proof).collect();
        match &proofs[..] {
            [] => Absence::Unknown,
            _ => Absence::ZeroBeforeRequests(proofs),
        }
    }

    /// Returns the name of this `alternative` of this `term`, if it is a former one, and the name
    /// that has replaced it.
    pub fn former_name(
        &self,
        term: usize,
        alternative: usize,
    ) -> Option<(&'static str, &'static str)> {
        let names = self.terms.get(term)?.0;
        let respelled = names.iter().flat_map(|name| respellings(name.series).map(move |_| name));
        let used = names.iter().chain(respelled).nth(alternative)?;
        (used.standing == Standing::Former).then_some((used.series, names[0].series))
    }
}

/// Returns the recipe of a sum of terms.
pub(crate) fn recipe(kind: Kind, terms: &[Term], fold: Fold) -> Recipe {
    let names: Vec<_> = terms.iter().map(|term| term.0).collect();
    recipe_of_names(kind, &names, fold)
}

fn recipe_of_names(kind: Kind, terms: &[&[Alternative]], fold: Fold) -> Recipe {
    let names = |names: &&[Alternative]| {
        let respelled = |name| {
            let selector = selector(name);
            respellings(name.series).map(move |series| Selector {
                name: series,
                is_respelled: true,
                ..selector.clone()
            })
        };
        names.iter().map(selector).chain(names.iter().flat_map(respelled)).collect()
    };
    Recipe::new(kind, terms.iter().map(names).collect(), fold)
}

/// Returns the names that programs which pass a series on make of its name: routers and collectors
/// of OpenTelemetry replace the colon, and Ray puts `ray_` before a name of vLLM's.
fn respellings(series: &'static str) -> impl Iterator<Item = String> {
    let is_ray = series.starts_with("vllm:");
    let plain = series.contains(':').then(|| series.replace(':', "_"));
    let of_ray = plain.clone().filter(|_| is_ray);
    let of_ray = of_ray.into_iter().flat_map(move |plain| [plain, series.to_owned()]);
    plain.into_iter().chain(of_ray.map(|name| format!("ray_{name}")))
}

fn selector(name: &Alternative) -> Selector {
    let Alternative { series, labels, except, less, per, over, times, standing, .. } = *name;
    let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
    let rule = |(label, values): &(&str, &[&str])| LabelRule {
        label: (*label).to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        is_in: false,
    };
    let times = times.iter().map(|label| (*label).to_owned()).collect();
    let scale = Scale { less, per, over: over.map(str::to_owned), times };
    let rules = except.iter().map(rule).collect();
    Selector { rules, standing, scale, ..Selector::new(series, labels) }
}

impl Alternative {
    /// Returns a name that all versions publish.
    pub const fn always(series: &'static str) -> Self {
        Self::current(series, "all")
    }

    /// Returns a name that these versions, or this page, publish.
    pub const fn current(series: &'static str, versions: &'static str) -> Self {
        Self {
            series,
            labels: &[],
            except: &[],
            less: 0,
            per: 1,
            over: None,
            times: &[],
            versions,
            standing: Standing::Current,
        }
    }

    /// Returns a name that only older versions publish.
    pub const fn former(series: &'static str, versions: &'static str) -> Self {
        Self { standing: Standing::Former, ..Self::current(series, versions) }
    }

    /// Returns a name that counts before the first one of its term; see [`Standing::Preferred`].
    pub const fn preferred(series: &'static str, versions: &'static str) -> Self {
        Self { standing: Standing::Preferred, ..Self::current(series, versions) }
    }

    /// Replaces the versions or the page that have this name.
    #[must_use]
    pub const fn on(self, versions: &'static str) -> Self {
        Self { versions, ..self }
    }

    /// Returns the series with its labels, and the way from its values to the quantity, such as
    /// `queue{model="a"}` or `latency_milliseconds / 1000`.
    pub fn formula(&self) -> String {
        let Self { series, labels, except, less, per, over, times, .. } = self;
        let equal = labels.iter().map(|(label, value)| format!("{label}={value:?}"));
        let rule = |(label, values): &(&str, &[&str])| {
            let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            format!("{label} notin ({})", values.join(", "))
        };
        let labels: Vec<String> = equal.chain(except.iter().map(rule)).collect();
        let mut text = (*series).to_owned();
        if !labels.is_empty() {
            let _ = write!(text, "{{{}}}", labels.join(","));
        }
        for label in *times {
            let _ = write!(text, " × {label}");
        }
        if let Some(over) = over {
            let _ = write!(text, " / {over}");
        }
        if *less > 0 {
            let _ = write!(text, " - {less}");
        }
        if *per > 1 {
            let _ = write!(text, " / {per}");
        }
        text
    }

    /// Restricts the name to series with these labels.
    #[must_use]
    pub const fn with(self, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { labels, ..self }
    }

    /// Restricts the name to series of which these labels have none of these values.
    #[must_use]
    pub const fn except(self, except: &'static [(&'static str, &'static [&'static str])]) -> Self {
        Self { except, ..self }
    }

    /// Subtracts a number from the sum of the series.
    #[must_use]
    pub const fn less(self, less: u32) -> Self {
        Self { less, ..self }
    }

    /// Divides the sum of the series by a number.
    #[must_use]
    pub const fn per(self, per: u32) -> Self {
        Self { per, ..self }
    }

    /// Divides the sum of the series by that of another one.
    #[must_use]
    pub const fn over(self, over: &'static str) -> Self {
        Self { over: Some(over), ..self }
    }

    /// Multiplies each value by the numbers that are the values of these labels.
    #[must_use]
    pub const fn times(self, times: &'static [&'static str]) -> Self {
        Self { times, ..self }
    }
}
