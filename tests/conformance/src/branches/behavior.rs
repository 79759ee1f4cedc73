//! The branches of windows, rate policies, bounds and scale events; a case exercises one of them.

use serde_json::Value;

/// A case of one of these modes and the oracle's answer.
pub(super) struct Seen<'a> {
    pub case: &'a Value,
    pub answer: &'a Value,
}

/// The name of a branch, and the predicate that recognises it.
type Branch = (&'static str, fn(&Seen<'_>) -> bool);

pub(super) const BRANCHES: &[Branch] = &[
    // The stabilization window of specs without behavior.
    ("legacy window: nothing higher in it", |s| {
        s.mode("stabilize") && s.replicas() == s.n("desired")
    }),
    ("legacy window: a higher one in it", |s| s.mode("stabilize") && s.replicas() > s.n("desired")),
    ("legacy window: one at its edge counts", |s| {
        s.mode("stabilize")
            && s.replicas() > s.n("desired")
            && s.only_source(|age| age == s.window())
    }),
    ("legacy window: a higher one is too old", |s| {
        s.mode("stabilize")
            && s.recommendations()
                .any(|(replicas, age)| age > s.window() && replicas > s.replicas())
    }),
    ("legacy window: the last outdated place is reused", |s| {
        s.mode("stabilize") && s.recommendations().filter(|(_, age)| *age > s.window()).count() > 1
    }),
    ("legacy window: nothing outdated, so appended", |s| {
        s.mode("stabilize") && s.recommendations().all(|(_, age)| age <= s.window())
    }),
    // The stabilization windows of specs with behavior.
    ("windows: raised to the lowest", |s| {
        s.windows(|s| s.replicas() > s.n("current") && s.replicas() < s.n("desired"))
    }),
    ("windows: lowered to the highest", |s| {
        s.windows(|s| s.replicas() < s.n("current") && s.replicas() > s.n("desired"))
    }),
    ("windows: between them, stays", |s| {
        s.windows(|s| s.replicas() == s.n("current") && s.replicas() != s.n("desired"))
    }),
    ("windows: nothing in the way", |s| {
        s.windows(|s| s.replicas() == s.n("desired") && s.n("desired") != s.n("current"))
    }),
    ("windows: one at the edge of scale-up's does not count", |s| {
        s.windows(|s| s.is_ignored_at(s.n("up_window_s"), |replicas| replicas < s.replicas()))
    }),
    ("windows: one at the edge of scale-down's does not count", |s| {
        s.windows(|s| s.is_ignored_at(s.n("down_window_s"), |replicas| replicas > s.replicas()))
    }),
    ("windows: scale-down's is longer than scale-up's", |s| {
        s.windows(|s| s.n("down_window_s") > s.n("up_window_s"))
    }),
    ("windows: scale-up's is longer than scale-down's", |s| {
        s.windows(|s| s.n("down_window_s") < s.n("up_window_s"))
    }),
    ("windows: the last place before both is reused", |s| s.windows(|s| s.outdated_for_both() > 1)),
    ("windows: no place before both, so appended", |s| {
        s.windows(|s| s.outdated_for_both() == 0 && s.recommendations().next().is_some())
    }),
    // Bounds without behavior.
    ("legacy limit: within range", |s| s.limited("rules", "DesiredWithinRange")),
    ("legacy limit: too few", |s| s.limited("rules", "TooFewReplicas")),
    ("legacy limit: too many", |s| s.limited("rules", "TooManyReplicas")),
    ("legacy limit: to the double", |s| {
        s.limited("rules", "ScaleUpLimit") && s.replicas() == 2 * s.n("current")
    }),
    ("legacy limit: to four", |s| {
        s.limited("rules", "ScaleUpLimit") && s.replicas() == 4 && s.n("current") < 2
    }),
    ("legacy limit: the double is out of range", |s| {
        s.mode("rules") && s.n("current") > i64::from(i32::MAX / 2)
    }),
    // Rate policies and bounds.
    ("rate: grows within range", |s| s.grows("DesiredWithinRange")),
    ("rate: scale-up's limit", |s| s.grows("ScaleUpLimit") && s.replicas() > s.n("current")),
    ("rate: scale-up's limit is below the current number, stays", |s| {
        s.grows("ScaleUpLimit") && s.replicas() == s.n("current") && !s.is_disabled("up")
    }),
    ("rate: growing is disabled", |s| s.grows("ScaleUpLimit") && s.is_disabled("up")),
    ("rate: too many", |s| s.grows("TooManyReplicas")),
    ("rate: shrinks within range", |s| s.shrinks("DesiredWithinRange")),
    ("rate: scale-down's limit", |s| s.shrinks("ScaleDownLimit") && s.replicas() < s.n("current")),
    ("rate: scale-down's limit is above the current number, stays", |s| {
        s.shrinks("ScaleDownLimit") && s.replicas() == s.n("current") && !s.is_disabled("down")
    }),
    ("rate: shrinking is disabled", |s| s.shrinks("ScaleDownLimit") && s.is_disabled("down")),
    ("rate: too few", |s| s.shrinks("TooFewReplicas")),
    ("rate: what stays is never bounded", |s| {
        let (current, desired) = (s.n("current"), s.n("desired"));
        s.mode("rate") && current == desired && !(s.n("min")..=s.n("max")).contains(&current)
    }),
    // The limit that the policies of one direction allow.
    ("limit: the default policies", |s| s.limit() && s.rules().is_null()),
    ("limit: rules without policies", |s| {
        s.limit() && s.rules().is_object() && s.rules()["policies"].is_null()
    }),
    ("limit: up, the largest of several", |s| {
        s.mode("limit_up") && s.selects("Max") && s.policies() > 1
    }),
    ("limit: up, the smallest of several", |s| {
        s.mode("limit_up") && s.selects("Min") && s.policies() > 1
    }),
    ("limit: up, disabled", |s| s.mode("limit_up") && s.selects("Disabled")),
    ("limit: up by a number", |s| s.mode("limit_up") && s.single("Pods")),
    ("limit: up by a percentage", |s| s.mode("limit_up") && s.single("Percent")),
    ("limit: up, the percentage is one more for the order of float operations", |s| {
        let start = s.at_start();
        let percent = s.value();
        s.mode("limit_up")
            && s.single("Percent")
            && start > 0
            && start * (100 + percent) % 100 == 0
            && s.allowed() == start * (100 + percent) / 100 + 1
    }),
    ("limit: up, the number wraps", |s| {
        s.mode("limit_up") && s.single("Pods") && s.allowed() != s.at_start() + s.value()
    }),
    ("limit: up, the percentage is out of range", |s| {
        s.mode("limit_up") && s.single("Percent") && s.allowed() == i64::from(i32::MIN)
    }),
    ("limit: down, the largest of several", |s| {
        s.mode("limit_down") && s.selects("Max") && s.policies() > 1
    }),
    ("limit: down, the smallest of several", |s| {
        s.mode("limit_down") && s.selects("Min") && s.policies() > 1
    }),
    ("limit: down, disabled", |s| s.mode("limit_down") && s.selects("Disabled")),
    ("limit: down by a number", |s| s.mode("limit_down") && s.single("Pods")),
    ("limit: down by a percentage", |s| s.mode("limit_down") && s.single("Percent")),
    ("limit: down, the percentage is one less for the order of float operations", |s| {
        let start = s.at_start();
        let left = 100 - s.value();
        s.mode("limit_down")
            && s.single("Percent")
            && start > 0
            && left > 0
            && start * left % 100 == 0
            && s.allowed() == start * left / 100 - 1
    }),
    ("limit: down, the number is below zero", |s| {
        s.mode("limit_down") && s.single("Pods") && s.allowed() < 0
    }),
    ("limit: growth of the period counts", |s| {
        s.limit() && s.changes("scale_up_events", |age, period| age < period)
    }),
    ("limit: shrinking of the period counts", |s| {
        s.limit() && s.changes("scale_down_events", |age, period| age < period)
    }),
    ("limit: a change at the period's edge does not count", |s| {
        s.limit() && s.single_policy() && s.changes("scale_up_events", |age, period| age == period)
    }),
    ("limit: an older change does not count", |s| {
        s.limit() && s.single_policy() && s.changes("scale_up_events", |age, period| age > period)
    }),
    // Scale events.
    ("events: none are kept without behavior", |s| {
        s.mode("store_event") && s.stored_rules().is_null()
    }),
    ("events: nothing outdated, so appended", |s| {
        s.stores(|s| s.stored() > s.events(s.stored_list()).count())
    }),
    ("events: the last outdated place is reused", |s| {
        s.stores(|s| s.stored() == s.events(s.stored_list()).count() && s.outdated() > 0)
    }),
    ("events: one becomes outdated", |s| s.stores(|s| s.outdated() > s.marked())),
    ("events: one at the longest period's edge is not outdated", |s| {
        s.stores(|s| s.events(s.stored_list()).any(|(_, age)| age == s.longest_period()))
    }),
    ("events: a place that was marked is reused, however young", |s| {
        s.stores(|s| s.marked() > 0 && s.outdated() == s.marked())
    }),
    ("events: of the other direction are not touched", |s| {
        s.mode("store_event") && s.stored_rules().is_object() && !s.is_stored()
    }),
];

impl<'a> Seen<'a> {
    fn mode(&self, mode: &str) -> bool {
        self.case["mode"] == mode
    }

    fn n(&self, key: &str) -> i64 {
        self.case[key].as_i64().unwrap_or_default()
    }

    fn replicas(&self) -> i64 {
        self.answer["replicas"].as_i64().unwrap_or_default()
    }

    /// Iterates over the recommendations as (replicas, age in seconds).
    fn recommendations(&self) -> impl Iterator<Item = (i64, f64)> {
        entries(&self.case["recommendations"], "replicas")
    }

    /// Returns the stabilization window of specs without behavior, in seconds.
    fn window(&self) -> f64 {
        self.case["downscale_stabilization_s"].as_f64().unwrap_or(300.0)
    }

    /// Returns true if every recommendation in the window that equals the answer has such an age.
    fn only_source(&self, of_age: impl Fn(f64) -> bool) -> bool {
        let counted = self.recommendations().filter(|(_, age)| *age <= self.window());
        counted.filter(|(replicas, _)| *replicas == self.replicas()).all(|(_, age)| of_age(age))
    }

    fn windows(&self, is: impl Fn(&Self) -> bool) -> bool {
        self.mode("stabilize_behavior") && is(self)
    }

    fn is_ignored_at(&self, window: i64, would_matter: impl Fn(i64) -> bool) -> bool {
        let held = self.replicas() != self.n("current");
        held && self
            .recommendations()
            .any(|(replicas, age)| age == window as f64 && would_matter(replicas))
    }

    fn outdated_for_both(&self) -> usize {
        let longest = self.n("up_window_s").max(self.n("down_window_s")) as f64;
        self.recommendations().filter(|(_, age)| *age > longest).count()
    }

    fn limited(&self, mode: &str, reason: &str) -> bool {
        self.mode(mode) && self.answer["reason"] == reason
    }

    fn grows(&self, reason: &str) -> bool {
        self.limited("rate", reason) && self.n("desired") > self.n("current")
    }

    fn shrinks(&self, reason: &str) -> bool {
        self.limited("rate", reason) && self.n("desired") < self.n("current")
    }

    fn is_disabled(&self, direction: &str) -> bool {
        self.case[format!("scale_{direction}_rules")]["selectPolicy"] == "Disabled"
    }

    fn limit(&self) -> bool {
        self.mode("limit_up") || self.mode("limit_down")
    }

    fn rules(&self) -> &'a Value {
        &self.case[if self.mode("limit_up") { "scale_up_rules" } else { "scale_down_rules" }]
    }

    fn selects(&self, which: &str) -> bool {
        self.rules()["selectPolicy"].as_str().unwrap_or("Max") == which
    }

    fn policies(&self) -> usize {
        self.rules()["policies"].as_array().map_or(0, Vec::len)
    }

    /// Returns true if the direction has exactly one policy and is not disabled.
    fn single_policy(&self) -> bool {
        self.policies() == 1 && !self.selects("Disabled")
    }

    fn single(&self, type_: &str) -> bool {
        self.single_policy() && self.rules()["policies"][0]["type"] == type_
    }

    /// Returns the value of the first policy.
    fn value(&self) -> i64 {
        self.rules()["policies"][0]["value"].as_i64().unwrap_or_default()
    }

    fn allowed(&self) -> i64 {
        self.answer["limit"].as_i64().unwrap_or_default()
    }

    /// Returns the number of replicas when the first policy's period began.
    fn at_start(&self) -> i64 {
        let period = self.rules()["policies"][0]["periodSeconds"].as_f64().unwrap_or_default();
        let sum = |list| -> i64 {
            self.events(list).filter(|(_, age)| *age < period).map(|(change, _)| change).sum()
        };
        self.n("current") - sum("scale_up_events") + sum("scale_down_events")
    }

    /// Returns true if the list has an event for which `at(age, period)` holds, where the period is
    /// the first policy's.
    fn changes(&self, list: &str, at: impl Fn(f64, f64) -> bool) -> bool {
        let period = self.rules()["policies"][0]["periodSeconds"].as_f64();
        period.is_some_and(|period| {
            !self.selects("Disabled") && self.events(list).any(|(_, age)| at(age, period))
        })
    }

    /// Iterates over events as (change, age in seconds).
    fn events(&self, list: &str) -> impl Iterator<Item = (i64, f64)> {
        entries(&self.case[list], "change")
    }

    fn stored_list(&self) -> &'static str {
        if self.case["direction"] == "down" { "scale_down_events" } else { "scale_up_events" }
    }

    fn stored_rules(&self) -> &'a Value {
        &self.case
            [if self.case["direction"] == "down" { "scale_down_rules" } else { "scale_up_rules" }]
    }

    /// Returns true if the change has the direction of the list that the answer shows.
    fn is_stored(&self) -> bool {
        (self.n("next") > self.n("prev")) == (self.case["direction"] == "up")
    }

    fn stores(&self, is: impl Fn(&Self) -> bool) -> bool {
        self.mode("store_event") && self.stored_rules().is_object() && self.is_stored() && is(self)
    }

    /// Returns the number of events after the change.
    fn stored(&self) -> usize {
        self.answer["events"].as_array().map_or(0, Vec::len)
    }

    fn longest_period(&self) -> f64 {
        let policies = self.stored_rules()["policies"].as_array().into_iter().flatten();
        policies.filter_map(|policy| policy["periodSeconds"].as_f64()).fold(0.0, f64::max)
    }

    fn marked(&self) -> usize {
        let list = self.case[self.stored_list()].as_array().into_iter().flatten();
        list.filter(|event| event["outdated"] == true).count()
    }

    /// Returns the number of events that are marked as outdated or older than every period.
    fn outdated(&self) -> usize {
        let list = self.case[self.stored_list()].as_array().into_iter().flatten();
        let is_old = |event: &Value| event["ago_s"].as_f64() > Some(self.longest_period());
        list.filter(|event| event["outdated"] == true || is_old(event)).count()
    }
}

fn entries<'a>(list: &'a Value, key: &'a str) -> impl Iterator<Item = (i64, f64)> {
    let list = list.as_array().into_iter().flatten();
    list.map(move |entry| {
        (entry[key].as_i64().unwrap_or_default(), entry["ago_s"].as_f64().unwrap_or_default())
    })
}
