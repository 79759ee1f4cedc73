//! The audit log of the API server: which copy of the operator has written what, and when.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use serde_json::Value;

/// A request of a copy that the API server has answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// The name of the process that sent it: that of the copy, and a suffix for each start.
    pub process: String,
    /// The verb.
    pub verb: String,
    /// The resource, and its subresource after a slash.
    pub resource: String,
    /// The namespace of the object.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
    /// The holder that a write of a Lease names; empty if it names none.
    pub holder: String,
    /// The status of the answer.
    pub code: i64,
    /// The time at which it was received.
    pub received: DateTime<Utc>,
    /// The time at which it was answered.
    pub answered: DateTime<Utc>,
}

impl Request {
    fn parse(event: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let time = |value: &Value| value.as_str()?.parse::<DateTime<Utc>>().ok();
        let agent = event["userAgent"].as_str()?;
        let process = agent.strip_prefix("llm-autoscaler/")?.split_once(" (operator; ")?.1;
        let object = &event["objectRef"];
        let mut resource = text(&object["resource"]);
        if let Some(subresource) = object["subresource"].as_str() {
            resource = format!("{resource}/{subresource}");
        }
        // Whichever copy gets a wake call records it, in a field of its own.
        if event["requestURI"].as_str()?.contains("fieldManager=llm-autoscaler-wake") {
            "wake".clone_into(&mut resource);
        }
        Some(Self {
            process: process.trim_end_matches(')').to_owned(),
            verb: text(&event["verb"]),
            resource,
            namespace: text(&object["namespace"]),
            name: match text(&object["name"]) {
                name if name.is_empty() => text(&event["requestObject"]["metadata"]["name"]),
                name => name,
            },
            holder: text(&event["requestObject"]["spec"]["holderIdentity"]),
            code: event["responseStatus"]["code"].as_i64()?,
            received: time(&event["requestReceivedTimestamp"])?,
            answered: time(&event["stageTimestamp"])?,
        })
    }

    /// Returns true for a write to anything but a Lease and the record of a wake call, whether it
    /// was accepted or not.
    pub fn is_attempt(&self) -> bool {
        let writes = ["create", "update", "patch", "delete"];
        let is_review = self.resource.ends_with("reviews");
        writes.contains(&&*self.verb)
            && self.resource != "wake"
            && !self.is_of_lease()
            && !is_review
    }

    /// Returns true for a write that the API server has accepted.
    pub fn is_write(&self) -> bool {
        self.is_attempt() && self.is_accepted()
    }

    fn is_of_lease(&self) -> bool {
        self.resource == "leases"
    }

    fn is_accepted(&self) -> bool {
        (200..300).contains(&self.code)
    }
}

/// Reads the requests of copies from the log, as it grows.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    /// What the names of the copies begin with.
    copies: String,
    /// The number of bytes that have been read.
    read: u64,
    requests: Vec<Request>,
}

impl Log {
    /// Reads the log from its end. A log that does not exist fails when it is read.
    pub fn new(path: PathBuf, copies: String) -> Self {
        let read = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self { path, copies, read, requests: Vec::new() }
    }

    /// Returns the requests so far, by the time of their answers.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn requests(&mut self) -> Result<&[Request]> {
        let mut file = File::open(&self.path)
            .with_context(|| format!("reading the audit log {}", self.path.display()))?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        // The API server may be in the middle of the last line.
        while lines.read_line(&mut line)? > 0 && line.ends_with('\n') {
            self.read += line.len() as u64;
            let event = serde_json::from_str::<Value>(&line).ok();
            let request = event.and_then(|event| Request::parse(&event));
            let is_ours = |request: &Request| request.process.starts_with(&self.copies);
            self.requests.extend(request.filter(is_ours));
            line.clear();
        }
        self.requests.sort_by_key(|request| request.answered);
        Ok(&self.requests)
    }
}

/// Returns the number of writes of copies that divide the namespaces by this many Leases.
///
/// # Errors
/// There was a double write, one that the operator's roles do not permit, or none at all.
pub fn ensure_one_writer(requests: &[Request], buckets: u64) -> Result<usize> {
    let doubles = double_writes(requests, buckets);
    ensure!(doubles.is_empty(), "{} double writes: {doubles:#?}", doubles.len());
    let refused: Vec<_> = requests.iter().filter(|request| request.code == 403).collect();
    ensure!(refused.is_empty(), "the operator's roles do not suffice: {refused:?}");
    let writes = requests.iter().filter(|request| request.is_write()).count();
    ensure!(writes > 0, "there were no writes at all");
    Ok(writes)
}

/// A write that follows one of another process.
#[derive(Debug)]
pub struct Handover {
    /// The name of the process that wrote before.
    pub from: String,
    /// The time of its last write.
    pub last: DateTime<Utc>,
    /// The time of the first write of the next process.
    pub first: DateTime<Utc>,
}

/// Returns the handovers, in their order.
#[must_use]
pub fn handovers(requests: &[Request]) -> Vec<Handover> {
    let writes: Vec<_> = requests.iter().filter(|request| request.is_write()).collect();
    let pairs = writes.windows(2).filter(|pair| pair[0].process != pair[1].process);
    pairs
        .map(|pair| Handover {
            from: pair[0].process.clone(),
            last: pair[0].answered,
            first: pair[1].received,
        })
        .collect()
}

/// Returns the double writes: those that were answered while the Lease of their namespace named
/// another process than the one that wrote, or none.
#[must_use]
pub fn double_writes(requests: &[Request], buckets: u64) -> Vec<Request> {
    let mut holders = BTreeMap::<u64, &str>::new();
    let mut doubles = Vec::new();
    for request in requests {
        let is_change = ["create", "update", "patch"].contains(&&*request.verb);
        if request.is_of_lease() && is_change && request.is_accepted() {
            holders.insert(bucket_of_lease(&request.name), &request.holder);
        } else if request.is_write() {
            let holder = holders.get(&bucket(&request.namespace, buckets));
            if holder.is_some_and(|holder| *holder != request.process) {
                doubles.push(request.clone());
            }
        }
    }
    doubles
}

/// Returns the bucket of a Lease: the number behind its name, and 0 of the first one.
fn bucket_of_lease(name: &str) -> u64 {
    name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Returns the bucket of a namespace, by the FNV-1a hash of its name, as the operator does.
#[must_use]
pub fn bucket(namespace: &str, buckets: u64) -> u64 {
    let hash = namespace.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash % buckets
}
