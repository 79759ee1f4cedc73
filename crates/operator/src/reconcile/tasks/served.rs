//! The namespaces that this copy of the operator serves: those of whole buckets, and of buckets
//! that it takes over one by one.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::lease::Leases;

/// The namespaces that this copy serves.
pub(super) struct Served {
    leases: Leases,
    /// The buckets of which it serves all namespaces.
    buckets: HashSet<usize>,
    /// The namespaces that it serves already of buckets that it takes over, with the terms of their
    /// Leases.
    begun: HashMap<String, u64>,
}

impl Served {
    /// Begins with what is held.
    pub(super) fn new(leases: &Leases) -> Self {
        let held = leases.changes().borrow().clone();
        let buckets = (0..held.len()).filter(|bucket| held[*bucket]).collect();
        Self { leases: leases.clone(), buckets, begun: HashMap::new() }
    }

    /// Returns the buckets of which all namespaces are served.
    pub(super) fn buckets(&self) -> &HashSet<usize> {
        &self.buckets
    }

    /// Returns whether a namespace is served.
    pub(super) fn has(&self, namespace: &str) -> bool {
        self.begun.contains_key(namespace) || self.buckets.contains(&self.leases.bucket(namespace))
    }

    /// Returns whether a namespace is one of these buckets.
    pub(super) fn is_of(&self, namespace: &str, buckets: &[usize]) -> bool {
        buckets.contains(&self.leases.bucket(namespace))
    }

    /// Returns whether a namespace of these buckets is yet to be served.
    pub(super) fn lacks(&self, namespace: &str, buckets: &[usize]) -> bool {
        self.is_of(namespace, buckets) && !self.has(namespace)
    }

    /// Serves namespaces of buckets that are taken over.
    pub(super) fn begin(&mut self, namespaces: &BTreeSet<String>) {
        for namespace in namespaces {
            let term = self.leases.permit(namespace).endings();
            self.begun.insert(namespace.clone(), term);
        }
    }

    /// Serves buckets with all of their namespaces.
    pub(super) fn complete(&mut self, buckets: &[usize]) {
        self.buckets.extend(buckets);
        let (leases, all) = (&self.leases, &self.buckets);
        self.begun.retain(|namespace, _| !all.contains(&leases.bucket(namespace)));
    }

    /// Leaves buckets, and the namespaces of which the Lease is not that of their beginning.
    pub(super) fn leave(&mut self, is_left: impl Fn(&usize) -> bool) {
        self.buckets.retain(|bucket| !is_left(bucket));
        let leases = &self.leases;
        self.begun.retain(|namespace, term| {
            *term == leases.permit(namespace).endings() && !is_left(&leases.bucket(namespace))
        });
    }
}
