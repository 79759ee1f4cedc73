//! One replica on its way out: since when, and whether it has come to its end.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::dialect::Victims;

use crate::{observe::replicas::Group, observe::requests::Requests};

/// How long it takes everybody who sends requests to learn that a pod is not ready any more; before that, to be empty means
/// nothing.
const SETTLES: TimeDelta = TimeDelta::seconds(2);
/// A replica on its way out.
#[derive(Clone, Copy)]
pub(super) struct Leaving {
    pub(super) since: DateTime<Utc>,
    /// Since when no request has been sent to it, as far as that is known.
    pub(super) out_since: Option<DateTime<Utc>>,
    /// When the size without it was written.
    pub(super) written: Option<Instant>,
}

impl Leaving {
    /// Notes when Services ceased to send requests; a pod without the gate is in service to its end.
    pub(super) fn look(&mut self, gated: bool, group: &Group, now: DateTime<Utc>) {
        if !gated {
            self.out_since.get_or_insert(self.since);
            return;
        }
        let serves = group.pods.iter().any(|pod| pod.service.has_gate() && pod.service.serves);
        if serves || !group.is_closed() {
            self.out_since = None;
        } else {
            self.out_since.get_or_insert(now);
        }
    }

    /// Whether it was seen to have no requests since then.
    pub(super) fn is_empty(&self, gated: bool, requests: Option<Requests>) -> bool {
        let (Some(out_since), Some(requests)) = (self.out_since, requests) else { return false };
        let settled = out_since + if gated { SETTLES } else { TimeDelta::zero() };
        requests.count == 0 && requests.at >= settled
    }
}

/// Whether it can be taken out of service.
pub(super) fn has_gate(group: &Group) -> bool {
    group.pods.iter().any(|pod| pod.service.has_gate())
}

/// By what it is known: the UID of its first pod.
pub(super) fn key(group: &Group) -> &str {
    group.pods.first().map_or("", |pod| &pod.uid)
}

/// What it is called: as its first pod.
pub(super) fn name(group: &Group) -> &str {
    group.pods.first().map_or("", |pod| &pod.name)
}

/// The number of a replica; 0 where numbers do not matter.
pub(super) fn ordinal(group: &Group, order: Victims) -> Option<i32> {
    let pod = group.pods.first()?;
    let numbered = match order {
        Victims::DeletionCost | Victims::InstanceCost => return Some(0),
        Victims::PodOrdinals => &pod.name,
        Victims::LabelOrdinals(label) => pod.labels.get(label).unwrap_or(&pod.name),
    };
    numbered.rsplit('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_autoscaler_api::dialect;

    use super::*;
    use crate::{
        cluster::pods::Gate, cluster::pods::Pod, cluster::pods::pod::tests::pod,
        observe::replicas::Replicas,
    };

    fn group(name: &str, change: impl Fn(&mut Pod)) -> Group {
        let mut pod = pod(name, "a");
        change(&mut pod);
        let members = Arc::new([(name.to_owned(), Arc::new(pod))].into_iter().collect());
        Replicas::of(&members, &dialect::known()).list.remove(0)
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    #[test]
    fn ordinals_are_read_where_the_kind_has_them() {
        let lws = Victims::LabelOrdinals("leaderworkerset.sigs.k8s.io/group-index");
        let labelled = group("pd-7-1", |pod| {
            pod.labels.insert("leaderworkerset.sigs.k8s.io/group-index".to_owned(), "7".to_owned());
        });
        let table = [
            (group("eng-12", |_| {}), Victims::PodOrdinals, Some(12)),
            (group("eng-x7k2p", |_| {}), Victims::PodOrdinals, None),
            (group("eng-x7k2p", |_| {}), Victims::DeletionCost, Some(0)),
            (labelled, lws, Some(7)),
            (group("pd-3", |_| {}), lws, Some(3)),
        ];
        for (group, order, expected) in table {
            assert_eq!(ordinal(&group, order), expected, "{order:?} {}", name(&group));
        }
    }

    #[test]
    fn empty_is_who_was_seen_to_be_after_requests_have_ceased() {
        let requests = |count, second| Some(Requests { count, at: at(second) });
        let closed = |serves| {
            group("a-0", move |pod| {
                pod.service.gate = Gate::Closed { since: at(0) };
                pod.service.serves = serves;
            })
        };
        let begun = Leaving { since: at(0), out_since: None, written: None };

        let mut leaving = begun;
        leaving.look(true, &closed(true), at(1));
        assert!(!leaving.is_empty(true, requests(0, 10)), "requests are still sent to it");
        leaving.look(true, &closed(false), at(5));
        leaving.look(true, &closed(false), at(9));
        assert!(!leaving.is_empty(true, requests(0, 6)), "some may be on their way");
        assert!(!leaving.is_empty(true, requests(1, 8)));
        assert!(!leaving.is_empty(true, None), "no sample is not empty");
        assert!(leaving.is_empty(true, requests(0, 7)));

        let mut ungated = begun;
        ungated.look(false, &group("a-0", |_| {}), at(5));
        assert!(ungated.is_empty(false, requests(0, 0)), "it never is out of service");
    }
}
