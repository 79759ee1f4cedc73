//! The branches of the replica calculator, which makes one proposal from one metric.

use std::collections::BTreeMap;

use serde_json::Value;

/// A case of mode `calc` and the oracle's answer, with the HPA's intermediate results recomputed.
pub(super) struct Seen<'a> {
    kind: &'a str,
    current: i64,
    target: f64,
    /// The lower and upper end of the tolerance as ratios: 1 - down, 1 + up.
    band: (f64, f64),
    pods: BTreeMap<&'a str, &'a Value>,
    samples: BTreeMap<&'a str, i64>,
    external: Vec<i64>,
    error: &'a str,
    replicas: Option<i64>,
    usage: Option<i64>,
    averages: Averages,
}

/// The groups of pods of a Pods metric, and its mean before and after filling in missing samples.
#[derive(Default)]
struct Averages {
    ready: i64,
    unready: i64,
    missing: i64,
    /// The sum of the samples of ready and of unlisted pods, and below it their number.
    sum: i128,
    count: i64,
    ratio: f64,
    /// The ratio and the number of samples after filling in; `None` if nothing is filled in.
    filled: Option<(f64, i64)>,
}

#[derive(PartialEq)]
enum Group {
    Ignored,
    Unready,
    Missing,
    Ready,
}

/// The name of a branch, and the predicate that recognises it.
type Branch = (&'static str, fn(&Seen<'_>) -> bool);

pub(super) const BRANCHES: &[Branch] = &[
    ("pods: the metrics API fails", |s| s.pods_metric() && s.failed("unable to fetch metrics")),
    ("pods: the metrics API has nothing", |s| s.pods_metric() && s.failed("no metrics returned")),
    ("pods: the selector finds none", |s| {
        s.pods_metric() && s.failed("no pods returned by selector")
    }),
    ("pods: a deleted one with a sample is ignored", |s| s.averaged(|s| s.has_sampled(deleted))),
    ("pods: a failed one with a sample is ignored", |s| {
        s.averaged(|s| s.has_sampled(|pod| in_phase(pod, "Failed")))
    }),
    ("pods: a pending one is unready, in spite of its sample", |s| {
        s.averaged(|s| s.has_sampled(|pod| in_phase(pod, "Pending") && !deleted(pod)))
    }),
    ("pods: a running one without a sample is missing", |s| s.averaged(|s| s.averages.missing > 0)),
    ("pods: Ready=False with a sample is ready", |s| {
        s.averaged(|s| s.has_ready(|pod| pod["ready"] == "False"))
    }),
    ("pods: Succeeded with a sample is ready", |s| {
        s.averaged(|s| s.has_ready(|pod| in_phase(pod, "Succeeded")))
    }),
    ("pods: Unknown with a sample is ready", |s| {
        s.averaged(|s| s.has_ready(|pod| in_phase(pod, "Unknown")))
    }),
    ("pods: no sample is left", |s| s.failed("did not receive metrics for targeted pods")),
    ("pods: samples of unlisted pods count", |s| {
        s.averaged(|s| s.averages.count > s.averages.ready)
    }),
    ("pods: the sum wraps", |s| s.averaged(|s| i64::try_from(s.averages.sum).is_err())),
    ("pods: complete, within the tolerance", |s| s.complete(|s| s.holds(s.averages.ratio))),
    ("pods: complete, exactly at the upper end", |s| s.complete(|s| s.at_end(s.band.1))),
    ("pods: complete, exactly at the lower end", |s| s.complete(|s| s.at_end(s.band.0))),
    ("pods: complete, above", |s| s.complete(|s| s.averages.ratio > s.band.1)),
    ("pods: complete, below", |s| s.complete(|s| s.averages.ratio < s.band.0)),
    ("pods: complete, shrinks though above", |s| {
        s.complete(|s| s.averages.ratio > 1.0 && s.shrinks())
    }),
    ("pods: complete, grows though below", |s| s.complete(|s| s.averages.ratio < 1.0 && s.grows())),
    ("pods: complete, out of range", |s| s.complete(|s| s.replicas == Some(i32::MIN.into()))),
    ("pods: unready ones stay out when not above", |s| s.complete(|s| s.averages.unready > 0)),
    ("pods: missing ones at their target when below", |s| {
        s.averaged(|s| s.averages.missing > 0 && s.averages.ratio < 1.0)
    }),
    ("pods: missing ones idle when above", |s| {
        s.averaged(|s| s.averages.missing > 0 && s.averages.ratio > 1.0)
    }),
    ("pods: missing ones left out at the target", |s| {
        s.averaged(|s| s.averages.missing > 0 && s.averages.ratio == 1.0)
    }),
    ("pods: unready ones idle when above", |s| {
        s.averaged(|s| s.averages.unready > 0 && s.averages.ratio > 1.0)
    }),
    ("pods: unready ones out while missing ones are filled in", |s| {
        s.averaged(|s| s.averages.unready > 0 && s.averages.missing > 0 && s.averages.ratio < 1.0)
    }),
    ("pods: filled in, within the tolerance", |s| {
        s.filled(|s, ratio, _| s.holds(ratio) && ratio != 1.0)
    }),
    ("pods: filled in, no longer above", |s| {
        s.filled(|s, ratio, _| s.averages.ratio > 1.0 && ratio < 1.0 && !s.holds(ratio))
    }),
    ("pods: filled in, grows", |s| s.filled(|s, ratio, _| ratio > 1.0 && s.grows())),
    ("pods: filled in, shrinks", |s| s.filled(|s, ratio, _| ratio < 1.0 && s.shrinks())),
    ("pods: filled in, below, and would grow", |s| {
        s.filled(|s, ratio, count| {
            s.moves(ratio) && ratio < 1.0 && (ratio * count).ceil() > s.current as f64
        })
    }),
    ("pods: filled in, above, and would shrink", |s| {
        s.filled(|s, ratio, count| {
            s.moves(ratio) && ratio > 1.0 && (ratio * count).ceil() < s.current as f64
        })
    }),
    ("object: the metrics API fails", |s| {
        s.kind.starts_with("object") && s.failed("unable to get metric")
    }),
    ("external: the metrics API fails", |s| {
        s.kind.starts_with("external") && s.failed("unable to fetch metrics")
    }),
    ("external: the metrics API has nothing", |s| {
        s.kind.starts_with("external") && s.failed("no metrics returned")
    }),
    ("external value: the sum stops at the largest integer", |s| {
        s.kind == "external_value" && s.external.len() > 1 && s.usage == Some(i64::MAX)
    }),
    ("external value: the sum is negative", |s| {
        s.kind == "external_value" && s.usage < Some(0) && s.usage.is_some()
    }),
    ("value: from zero, rounded up", |s| s.value(|s, ratio| s.current == 0 && ratio > s.band.1)),
    ("value: from zero there is no tolerance", |s| {
        s.value(|s, ratio| s.current == 0 && ratio > 1.0 && s.holds(ratio))
    }),
    ("value: from zero to zero", |s| s.value(|s, _| s.current == 0 && s.replicas == Some(0))),
    ("value: within the tolerance", |s| s.value(|s, ratio| s.current > 0 && s.holds(ratio))),
    ("value: exactly at the upper end", |s| {
        s.value(|s, ratio| s.current > 0 && ratio == s.band.1 && ratio != 1.0)
    }),
    ("value: exactly at the lower end", |s| {
        s.value(|s, ratio| s.current > 0 && ratio == s.band.0 && ratio != 1.0)
    }),
    ("value: within the tolerance without a pod", |s| {
        s.value(|s, ratio| s.current > 0 && s.holds(ratio) && s.pods.is_empty())
    }),
    ("value: no pods", |s| s.failed("unable to calculate ready pods")),
    ("value: grows", |s| s.scaled_value(|s, ratio| ratio > 1.0 && s.grows())),
    ("value: shrinks", |s| s.scaled_value(|s, ratio| ratio < 1.0 && s.shrinks())),
    ("value: shrinks though above", |s| s.scaled_value(|s, ratio| ratio > 1.0 && s.shrinks())),
    ("value: grows though below", |s| s.scaled_value(|s, ratio| ratio < 1.0 && s.grows())),
    ("value: saturates", |s| s.scaled_value(|s, _| s.replicas == Some(i32::MAX.into()))),
    ("value: out of range below", |s| s.scaled_value(|s, _| s.replicas == Some(i32::MIN.into()))),
    ("value: a deleted pod serves", |s| {
        s.scaled_value(|s, _| s.pods.values().any(|pod| deleted(pod) && serves(pod)))
    }),
    ("value: an unready pod does not", |s| {
        s.scaled_value(|s, _| s.serving() > 0 && s.serving() < s.pods.len())
    }),
    ("value: no pod is ready, so zero", |s| {
        s.scaled_value(|s, _| s.serving() == 0 && s.replicas == Some(0))
    }),
    ("average: within the tolerance", |s| s.average(|s, ratio| s.current > 0 && s.holds(ratio))),
    ("average: exactly at the upper end", |s| {
        s.average(|s, ratio| ratio == s.band.1 && ratio != 1.0)
    }),
    ("average: exactly at the lower end", |s| {
        s.average(|s, ratio| ratio == s.band.0 && ratio != 1.0)
    }),
    ("average: grows", |s| s.average(|s, ratio| s.current > 0 && !s.holds(ratio) && s.grows())),
    ("average: shrinks", |s| s.average(|s, ratio| s.current > 0 && !s.holds(ratio) && s.shrinks())),
    ("average: no replicas, shown as the smallest integer", |s| {
        s.average(|s, _| s.current == 0 && s.usage == Some(i64::MIN))
    }),
    ("average: shown rounded up", |s| {
        s.average(|s, _| {
            s.current > 0 && s.total().is_some_and(|total| total > 0 && total % s.current != 0)
        })
    }),
    ("object average: out of range", |s| {
        s.kind == "object_average" && s.replicas == Some(i32::MIN.into())
    }),
    ("external average: saturates", |s| {
        s.kind == "external_average" && s.replicas == Some(i32::MAX.into())
    }),
    ("external average: shown as the largest integer", |s| {
        s.kind == "external_average" && s.usage == Some(i64::MAX)
    }),
    ("external average: a negative value is infinity", |s| {
        s.kind == "external_average"
            && s.running_sum_is_negative(|value| (-1000..0).contains(&value))
    }),
    ("external average: an overflow is infinity", |s| {
        s.kind == "external_average" && s.running_sum_is_negative(|value| value > 0)
    }),
];

impl<'a> Seen<'a> {
    pub(super) fn new(case: &'a Value, answer: &'a Value) -> Self {
        let number =
            |value: &Value| value.as_i64().or_else(|| value["value"].as_i64()).unwrap_or_default();
        let tolerance = |key: &str| case[key].as_f64().unwrap_or(0.1);
        let pods = case["pods"].as_array().into_iter().flatten();
        let samples = case["pod_metrics"].as_object().into_iter().flatten();
        let mut seen = Self {
            kind: case["kind"].as_str().unwrap_or_default(),
            current: number(&case["current"]),
            target: number(&case["target"]) as f64,
            band: (1.0 - tolerance("tolerance_down"), 1.0 + tolerance("tolerance_up")),
            pods: pods.filter_map(|pod| Some((pod["name"].as_str()?, pod))).collect(),
            samples: samples.map(|(name, sample)| (name.as_str(), number(sample))).collect(),
            external: case["external"].as_array().into_iter().flatten().map(number).collect(),
            error: answer["error"].as_str().unwrap_or_default(),
            replicas: answer["replicas"].as_i64(),
            usage: answer["usage"].as_i64(),
            averages: Averages::default(),
        };
        if seen.kind == "object_average" {
            seen.external = case["object"].as_i64().into_iter().collect();
        }
        if seen.pods_metric() && seen.replicas.is_some() {
            seen.averages = seen.averages();
        }
        seen
    }

    fn averages(&self) -> Averages {
        let size = |wanted: &Group| {
            self.pods.iter().filter(|(name, pod)| self.group(name, pod) == *wanted).count() as i64
        };
        let (ready, unready, missing) =
            (size(&Group::Ready), size(&Group::Unready), size(&Group::Missing));
        let counts = |name: &str| {
            self.pods
                .get(name)
                .is_none_or(|pod| !matches!(self.group(name, pod), Group::Ignored | Group::Unready))
        };
        let samples = self.samples.iter().filter(|(name, _)| counts(name));
        let (count, sum) =
            samples.fold((0, 0), |(count, sum), (_, value)| (count + 1, sum + i128::from(*value)));
        let ratio_of = |sum: i128, count: i64| (sum as i64 / count) as f64 / self.target;
        let ratio = ratio_of(sum, count);
        let is_filled = missing > 0 || (unready > 0 && ratio > 1.0);
        let filled = is_filled.then(|| match ratio {
            _ if ratio < 1.0 => (sum + i128::from(missing) * self.target as i128, count + missing),
            _ if ratio > 1.0 => (sum, count + missing + unready),
            _ => (sum, count),
        });
        let filled = filled.map(|(sum, count)| (ratio_of(sum, count), count));
        Averages { ready, unready, missing, sum, count, ratio, filled }
    }

    fn group(&self, name: &str, pod: &Value) -> Group {
        if deleted(pod) || in_phase(pod, "Failed") {
            Group::Ignored
        } else if in_phase(pod, "Pending") {
            Group::Unready
        } else if self.samples.contains_key(name) {
            Group::Ready
        } else {
            Group::Missing
        }
    }

    fn pods_metric(&self) -> bool {
        self.kind == "pods"
    }

    fn failed(&self, with: &str) -> bool {
        self.error.contains(with)
    }

    fn holds(&self, ratio: f64) -> bool {
        self.band.0 <= ratio && ratio <= self.band.1
    }

    fn moves(&self, ratio: f64) -> bool {
        !self.holds(ratio) && (ratio < 1.0) == (self.averages.ratio < 1.0)
    }

    fn at_end(&self, end: f64) -> bool {
        self.averages.ratio == end && end != 1.0
    }

    fn grows(&self) -> bool {
        self.replicas > Some(self.current)
    }

    fn shrinks(&self) -> bool {
        self.replicas.is_some_and(|replicas| (0..self.current).contains(&replicas))
    }

    /// Returns true for a Pods metric that has an answer, and for which `is` holds.
    fn averaged(&self, is: impl Fn(&Self) -> bool) -> bool {
        self.pods_metric() && self.replicas.is_some() && is(self)
    }

    /// Like `averaged`, for cases in which no sample is filled in.
    fn complete(&self, is: impl Fn(&Self) -> bool) -> bool {
        self.averaged(|seen| seen.averages.filled.is_none() && is(seen))
    }

    /// Like `averaged`, for cases in which samples are filled in; `is` gets the ratio and the
    /// number of samples after that.
    fn filled(&self, is: impl Fn(&Self, f64, f64) -> bool) -> bool {
        self.averaged(|seen| {
            seen.averages.filled.is_some_and(|(ratio, count)| is(seen, ratio, count as f64))
        })
    }

    fn has_sampled(&self, is: impl Fn(&Value) -> bool) -> bool {
        self.pods.iter().any(|(name, pod)| self.samples.contains_key(name) && is(pod))
    }

    fn has_ready(&self, is: impl Fn(&Value) -> bool) -> bool {
        self.pods.iter().any(|(name, pod)| self.group(name, pod) == Group::Ready && is(pod))
    }

    /// Returns true for a Value target that has an answer, if `is` holds for its ratio.
    fn value(&self, is: impl Fn(&Self, f64) -> bool) -> bool {
        self.kind.ends_with("_value")
            && self.replicas.is_some()
            && self.usage.is_some_and(|usage| is(self, usage as f64 / self.target))
    }

    /// Like `value`, for cases outside the tolerance: the answer depends on the ready pods.
    fn scaled_value(&self, is: impl Fn(&Self, f64) -> bool) -> bool {
        self.value(|seen, ratio| seen.current > 0 && !seen.holds(ratio) && is(seen, ratio))
    }

    fn serving(&self) -> usize {
        self.pods.values().filter(|pod| serves(pod)).count()
    }

    /// Returns true for an AverageValue target if its total does not overflow and `is` holds for
    /// its ratio.
    fn average(&self, is: impl Fn(&Self, f64) -> bool) -> bool {
        self.replicas.is_some()
            && self
                .total()
                .is_some_and(|total| is(self, total as f64 / (self.target * self.current as f64)))
    }

    fn total(&self) -> Option<i64> {
        let plain = self.kind.ends_with("_average") && !self.running_sum_is_negative(|_| true);
        plain.then(|| self.external.iter().sum())
    }

    /// Returns true if the running sum of an External metric turns negative, at a value for which
    /// `at` holds.
    fn running_sum_is_negative(&self, at: impl Fn(i64) -> bool) -> bool {
        if self.kind != "external_average" || self.replicas.is_none() {
            return false;
        }
        let mut sum = 0_i64;
        let turns = self.external.iter().find(|value| {
            sum = sum.wrapping_add(**value);
            sum < 0
        });
        turns.is_some_and(|value| at(*value))
    }
}

fn deleted(pod: &Value) -> bool {
    pod["deleted"] == true
}

fn in_phase(pod: &Value, phase: &str) -> bool {
    pod["phase"].as_str().unwrap_or("Running") == phase
}

fn serves(pod: &Value) -> bool {
    in_phase(pod, "Running") && pod["ready"].as_str().unwrap_or("True") == "True"
}
