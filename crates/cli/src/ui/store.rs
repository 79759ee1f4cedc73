//! The autoscalers as the watch has them, and the rows that have changed since a page last asked.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    detail::{Detail, Item},
    row::Row,
};

/// The most autoscalers that are kept. Further ones are counted.
const MOST: usize = 10_000;
/// The most deletions that are remembered. A page that has missed more gets all rows again.
const DELETIONS: usize = 1_000;
/// The time for which a failure of the watch is told. One that lasts fails again within half a
/// minute; one that is over need not bring an object.
const FAILURE_TOLD: TimeDelta = TimeDelta::seconds(90);

/// The autoscalers. Cheap to read, and shared by watch and server.
pub(super) struct Store {
    scope: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: BTreeMap<Key, Kept>,
    /// Grows with every change of a row.
    version: u64,
    /// The latest deletions, oldest first, and the version that each made.
    deleted: VecDeque<(u64, Key)>,
    /// The version of the latest deletion that is no longer remembered.
    forgotten: u64,
    /// The keys of a new list, until it is complete.
    listed: Option<HashSet<Key>>,
    /// The objects have been listed once.
    is_complete: bool,
    /// When and why the watch failed last, so that the objects may be outdated.
    problem: Option<(DateTime<Utc>, String)>,
    /// The number of objects that were not kept.
    left_off: usize,
}

/// Namespace and name.
type Key = (String, String);

struct Kept {
    item: Item,
    row: Row,
    version: u64,
}

/// An answer about all rows, or those that have changed.
#[derive(Serialize)]
struct Changes<'a> {
    scope: &'a str,
    version: String,
    /// True if these are all rows, which replace the page's.
    whole: bool,
    rows: Vec<&'a Row>,
    deleted: Vec<String>,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    #[serde(rename = "leftOff")]
    left_off: usize,
}

impl Store {
    pub(super) fn new(scope: String) -> Self {
        Self { scope, state: Mutex::default() }
    }

    /// Begins a new list, after which objects that are not in it are gone.
    pub(super) fn begin(&self) {
        self.lock().listed = Some(HashSet::new());
    }

    /// Ends a list.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.is_complete = true;
        state.problem = None;
        if let Some(listed) = state.listed.take() {
            let gone: Vec<Key> =
                state.items.keys().filter(|key| !listed.contains(*key)).cloned().collect();
            for key in gone {
                state.delete(key);
            }
        }
    }

    /// Takes over an object.
    pub(super) fn apply(&self, object: DynamicObject, now: DateTime<Utc>) {
        let key = key(&object);
        let item = Item::new(object);
        let row = Row::new(&item, now);
        let mut state = self.lock();
        if let Some(listed) = &mut state.listed {
            listed.insert(key.clone());
        } else {
            state.problem = None;
        }
        if state.items.len() >= MOST && !state.items.contains_key(&key) {
            state.left_off += 1;
            return;
        }
        let next = state.version + 1;
        let unchanged = state.items.get(&key).filter(|kept| kept.row == row);
        let version = unchanged.map_or(next, |kept| kept.version);
        state.version = state.version.max(version);
        state.items.insert(key, Kept { item, row, version });
    }

    /// Forgets an object.
    pub(super) fn delete(&self, object: &DynamicObject) {
        self.lock().delete(key(object));
    }

    /// Takes note of a watch that has failed: what is kept may be outdated.
    pub(super) fn fail(&self, problem: String, now: DateTime<Utc>) {
        self.lock().problem = Some((now, problem));
    }

    /// Returns the rows that have changed since a version, as JSON; all rows without a known one.
    pub(super) fn changes(&self, since: &str, now: DateTime<Utc>) -> String {
        let state = self.lock();
        let known = since.parse().ok();
        let known = known.filter(|it| (state.forgotten..=state.version).contains(it));
        let rows = state.items.values().filter(|kept| known.is_none_or(|it| kept.version > it));
        let deleted =
            state.deleted.iter().filter(|(version, _)| known.is_some_and(|it| *version > it));
        let problem = state.problem.as_ref().filter(|(at, _)| now - *at < FAILURE_TOLD);
        let changes = Changes {
            scope: &self.scope,
            version: state.version.to_string(),
            whole: known.is_none(),
            rows: rows.map(|kept| &kept.row).collect(),
            deleted: deleted.map(|(_, (namespace, name))| format!("{namespace}/{name}")).collect(),
            complete: state.is_complete,
            problem: problem.map(|(_, text)| text.as_str()),
            left_off: state.left_off,
        };
        serde_json::to_string(&changes).unwrap_or_default()
    }

    /// Returns everything about one autoscaler, as JSON.
    pub(super) fn detail(&self, namespace: &str, name: &str, now: DateTime<Utc>) -> Option<String> {
        let state = self.lock();
        let kept = state.items.get(&(namespace.to_owned(), name.to_owned()))?;
        let detail = Detail::new(&kept.item, &kept.row, now);
        let value = serde_json::to_value(detail).unwrap_or_else(|_| json!({}));
        Some(Value::to_string(&value))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn delete(&mut self, key: Key) {
        if self.items.remove(&key).is_none() {
            self.left_off = self.left_off.saturating_sub(1);
            return;
        }
        self.version += 1;
        self.deleted.push_back((self.version, key));
        if self.deleted.len() > DELETIONS
            && let Some((version, _)) = self.deleted.pop_front()
        {
            self.forgotten = version;
        }
    }
}

fn key(object: &DynamicObject) -> Key {
    let metadata = &object.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, max: i32) -> DynamicObject {
        let object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
            "metadata": {"name": name, "namespace": "chat"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
                "engine": "VLLM", "maxReplicas": max, "metrics": [],
            },
        });
        serde_json::from_value(object).unwrap()
    }

    /// Returns the version, whether it is the whole, and the names of rows and deletions.
    fn ask(store: &Store, since: &str) -> (String, bool, Vec<String>, Vec<String>) {
        let answer: Value =
            serde_json::from_str(&store.changes(since, DateTime::UNIX_EPOCH)).unwrap();
        let texts = |list: &Value, field: Option<&str>| {
            let one =
                |it: &Value| field.map_or(it, |field| &it[field]).as_str().unwrap().to_owned();
            list.as_array().unwrap().iter().map(one).collect::<Vec<_>>()
        };
        (
            answer["version"].as_str().unwrap().to_owned(),
            answer["whole"].as_bool().unwrap(),
            texts(&answer["rows"], Some("name")),
            texts(&answer["deleted"], None),
        )
    }

    #[test]
    fn a_page_gets_what_has_changed_since_it_last_asked() {
        let (store, now) = (Store::new("all namespaces".to_owned()), DateTime::UNIX_EPOCH);
        store.begin();
        store.apply(object("a", 3), now);
        store.apply(object("b", 3), now);
        store.end();
        let (first, whole, rows, _) = ask(&store, "");
        assert!(whole);
        assert_eq!(rows, ["a", "b"]);
        assert_eq!(ask(&store, &first), (first.clone(), false, vec![], vec![]));
        // The same object again is no change.
        store.apply(object("b", 3), now);
        assert_eq!(ask(&store, &first), (first.clone(), false, vec![], vec![]));
        store.apply(object("b", 4), now);
        store.delete(&object("a", 3));
        let (second, _, rows, deleted) = ask(&store, &first);
        assert_eq!((rows, deleted), (vec!["b".to_owned()], vec!["chat/a".to_owned()]));
        // A new list without an object deletes it.
        store.begin();
        store.end();
        let (_, _, rows, deleted) = ask(&store, &second);
        assert_eq!((rows, deleted), (vec![], vec!["chat/b".to_owned()]));
    }

    #[test]
    fn a_page_of_another_process_or_one_that_slept_gets_everything() {
        let (store, now) = (Store::new("all namespaces".to_owned()), DateTime::UNIX_EPOCH);
        store.apply(object("stays", 3), now);
        let (version, ..) = ask(&store, "");
        for _ in 0..=DELETIONS {
            store.apply(object("a", 3), now);
            store.delete(&object("a", 3));
        }
        let (_, whole, rows, deleted) = ask(&store, &version);
        assert_eq!((whole, rows, deleted), (true, vec!["stays".to_owned()], vec![]));
        assert!(ask(&store, "99999999").1, "a version that is to come");
        assert!(ask(&store, "x").1, "no version");
        assert!(store.lock().deleted.len() <= DELETIONS);
    }

    #[test]
    fn a_failure_is_told_until_the_watch_works_again() {
        let (store, now) = (Store::new("all namespaces".to_owned()), DateTime::UNIX_EPOCH);
        let told = |after| {
            let answer = store.changes("", now + TimeDelta::seconds(after));
            serde_json::from_str::<Value>(&answer).unwrap()["problem"].is_string()
        };
        assert!(!told(0));
        store.fail("refused".to_owned(), now);
        assert!(told(89));
        assert!(!told(90), "no object has changed since");
        store.apply(object("a", 3), now);
        assert!(!told(1), "the watch has brought an object");
        store.fail("refused".to_owned(), now);
        store.begin();
        store.apply(object("a", 3), now);
        assert!(told(1), "the list is not complete");
        store.end();
        assert!(!told(1));
    }

    #[test]
    fn a_store_that_is_full_counts_the_rest() {
        let (store, now) = (Store::new("all namespaces".to_owned()), DateTime::UNIX_EPOCH);
        for index in 0..MOST + 2 {
            store.apply(object(&index.to_string(), 3), now);
        }
        let state = store.lock();
        assert_eq!((state.items.len(), state.left_off), (MOST, 2));
    }
}
