//! The limit of autoscalers in a namespace: the oldest ones are served, the others wait.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

/// The place of an object in the order of its namespace: older ones come first, and those of the
/// same second by their UIDs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seniority {
    /// The creation of the object.
    pub(super) created: Option<DateTime<Utc>>,
    /// The UID.
    pub(super) uid: String,
    /// The name.
    pub(super) name: String,
}

/// The objects of all namespaces, and which of them are served.
#[derive(Debug)]
pub(super) struct Quota {
    /// The number of objects that are served in one namespace.
    most: usize,
    namespaces: HashMap<String, Namespace>,
}

#[derive(Debug, Default)]
struct Namespace {
    served: BTreeSet<Seniority>,
    waiting: BTreeSet<Seniority>,
}

/// The changes that follow from an object that came or went, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Is not served any more, because an older one came.
    pub(super) suspended: Option<String>,
    /// Is served from now on, because one that was served is gone.
    pub(super) admitted: Option<String>,
}

impl Quota {
    /// Returns a quota without objects.
    pub(super) fn new(most: usize) -> Self {
        Self { most, namespaces: HashMap::new() }
    }

    /// Returns the number of objects that are served in one namespace.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Returns the number of objects of a namespace that wait.
    pub(super) fn waiting(&self, namespace: &str) -> usize {
        self.namespaces.get(namespace).map_or(0, |entry| entry.waiting.len())
    }

    /// Adds an object.
    pub(super) fn add(&mut self, namespace: &str, object: Seniority) -> Changes {
        let entry = self.namespaces.entry(namespace.to_owned()).or_default();
        if entry.waiting.contains(&object) || !entry.served.insert(object) {
            return Changes::default();
        }
        let suspended = (entry.served.len() > self.most).then(|| entry.served.pop_last()).flatten();
        let name = suspended.as_ref().map(|object| object.name.clone());
        entry.waiting.extend(suspended);
        Changes { suspended: name, admitted: None }
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, namespace: &str, object: &Seniority) -> Changes {
        let Some(entry) = self.namespaces.get_mut(namespace) else { return Changes::default() };
        entry.waiting.remove(object);
        let was_served = entry.served.remove(object);
        let admitted = was_served.then(|| entry.waiting.pop_first()).flatten();
        let name = admitted.as_ref().map(|object| object.name.clone());
        entry.served.extend(admitted);
        if entry.served.is_empty() {
            self.namespaces.remove(namespace);
        }
        Changes { suspended: None, admitted: name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(second: i64, name: &str) -> Seniority {
        let created = DateTime::from_timestamp(second, 0);
        Seniority { created, uid: format!("uid-{name}"), name: name.to_owned() }
    }

    fn served(quota: &Quota, namespace: &str) -> Vec<String> {
        let entry = quota.namespaces.get(namespace);
        entry.map(|entry| entry.served.iter().map(|object| object.name.clone()).collect()).unwrap()
    }

    #[test]
    fn the_oldest_autoscalers_of_a_namespace_are_served() {
        let suspended = |name: &str| Changes { suspended: Some(name.to_owned()), admitted: None };
        let admitted = |name: &str| Changes { suspended: None, admitted: Some(name.to_owned()) };
        let mut quota = Quota::new(2);
        let [a, b, c, d] = [(3, "a"), (1, "b"), (2, "c"), (4, "d")].map(|(s, n)| object(s, n));
        assert_eq!(quota.add("ns", a.clone()), Changes::default());
        assert_eq!(quota.add("ns", b.clone()), Changes::default());
        // A listing has no order: an older one takes the place of the youngest.
        assert_eq!(quota.add("ns", c), suspended("a"));
        assert_eq!(quota.add("ns", d.clone()), suspended("d"));
        assert_eq!((quota.waiting("ns"), quota.waiting("other")), (2, 0));
        assert_eq!(quota.add("ns", a), Changes::default(), "it is known");
        assert_eq!(quota.add("other", object(9, "e")), Changes::default());
        assert_eq!(served(&quota, "ns"), ["b", "c"]);

        assert_eq!(quota.remove("ns", &d), Changes::default(), "it was waiting");
        assert_eq!(quota.remove("ns", &b), admitted("a"));
        assert_eq!(served(&quota, "ns"), ["c", "a"]);
    }

    #[test]
    fn a_namespace_without_autoscalers_leaves_nothing_behind() {
        let mut quota = Quota::new(1);
        quota.add("ns", object(1, "a"));
        quota.remove("ns", &object(1, "a"));
        quota.remove("ns", &object(1, "a"));
        assert!(quota.namespaces.is_empty());
    }
}
