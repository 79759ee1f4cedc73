//! The API server of the simulation: Leases and targets with versions.

use crate::lease::{
    record::{Layout, Record},
    steps::{Answer, Call},
};

/// Returns the name of a namespace.
pub(super) fn name(namespace: usize) -> String {
    format!("ns-{namespace}")
}

/// The API server.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// The Leases by bucket; those of all numbers of buckets, since the first ones are shared.
    pub leases: Vec<Option<Record>>,
    /// The versions of the targets, by namespace.
    pub targets: Vec<u64>,
    /// Updates without a question about the version, which is a fault.
    pub ignores_versions: bool,
    /// Updates without a question about the UID, which is a fault.
    pub ignores_uids: bool,
    /// The number of times that a Lease got another holder.
    pub taken: usize,
    version: u64,
}

impl Server {
    pub(super) fn new(leases: usize, namespaces: usize) -> Self {
        Self { leases: vec![None; leases], targets: vec![0; namespaces], ..Self::default() }
    }

    /// Carries out a call.
    pub(super) fn carry_out(&mut self, bucket: usize, call: &Call) -> Answer {
        let there = self.leases[bucket].clone();
        match (call, there) {
            (Call::Get, Some(record)) => Answer::Found(record),
            (Call::Get, None) => Answer::Absent,
            (Call::Create(record), None) => {
                let uid = format!("uid-{}", self.version);
                self.store(bucket, Record { uid, ..record.clone() })
            }
            // As measured of a real one.
            (Call::Update(record), None) if self.ignores_uids => self.store(bucket, record.clone()),
            (Call::Create(_), Some(_)) | (Call::Update(_), None) => Answer::Conflict,
            (Call::Update(record), Some(there)) => {
                let is_same = record.version == there.version && record.uid == there.uid;
                if !is_same && !self.ignores_versions {
                    return Answer::Conflict;
                }
                self.store(bucket, record.clone())
            }
        }
    }

    /// Changes the labels of a Lease, as a person might.
    pub(super) fn label(&mut self, bucket: usize) {
        if let Some(record) = self.leases[bucket].clone() {
            self.store(bucket, record);
        }
    }

    /// Carries out a write to a target. Returns true if it was accepted.
    pub(super) fn write(&mut self, namespace: usize, version: u64) -> bool {
        let is_accepted = self.targets[namespace] == version;
        self.targets[namespace] += u64::from(is_accepted);
        is_accepted
    }

    /// Returns the holder of a Lease that may write by it.
    pub(super) fn writer(&self, bucket: usize, buckets: usize) -> Option<&str> {
        let record = self.leases[bucket].as_ref()?;
        let is_settled = record.layout == Some(Layout::Settled(buckets));
        (is_settled && !record.holder.is_empty()).then_some(record.holder.as_str())
    }

    fn store(&mut self, bucket: usize, mut record: Record) -> Answer {
        self.version += 1;
        record.version = self.version.to_string();
        let before = self.leases[bucket].as_ref().map_or("", |before| &before.holder);
        let is_taken = !record.holder.is_empty() && record.holder != before;
        self.taken += usize::from(is_taken);
        self.leases[bucket] = Some(record.clone());
        Answer::Found(record)
    }
}
