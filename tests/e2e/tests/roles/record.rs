//! Records the requested and the existing replicas of both roles, from one change to the next.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
    runtime::{WatchStreamExt, reflector, watcher},
};
use llm_autoscaler_e2e::{
    Stage,
    groups::{condition, number},
};
use llm_autoscaler_testbed::wait;
use tokio::{task::JoinSet, time::Instant};

use crate::spec::NAME;

/// A number for each role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub prefill: i64,
    pub decode: i64,
}

/// The state from `at` until the next moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment {
    /// The time since the record began.
    pub at: Duration,
    /// The requested replicas of each role.
    pub requested: Sizes,
    /// The existing pods, including terminating ones.
    pub pods: Sizes,
    /// The pods that are ready and not terminating.
    pub ready: Sizes,
}

/// Records both roles until it is dropped.
pub(crate) struct Record {
    began: Instant,
    moments: Arc<Mutex<Vec<Moment>>>,
    _watches: JoinSet<()>,
}

type Store = reflector::Store<DynamicObject>;

impl Sizes {
    pub(crate) const fn new(prefill: i64, decode: i64) -> Self {
        Self { prefill, decode }
    }

    pub(crate) fn sum(self) -> i64 {
        self.prefill + self.decode
    }

    /// Returns prefill's replicas per replica of decode.
    pub(crate) fn ratio(self) -> f64 {
        self.prefill as f64 / self.decode as f64
    }

    /// Evaluates a count for each role by its name: `pd-prefill`, `pd-decode`.
    fn of(count: impl Fn(&str) -> i64) -> Self {
        Self {
            prefill: count(&format!("{NAME}-prefill")),
            decode: count(&format!("{NAME}-decode")),
        }
    }
}

impl Record {
    /// Starts the record with the current state. The sizes are those of objects of this kind; the
    /// names of pods begin with the objects' names.
    pub(crate) async fn start(stage: &Stage, kind: &ApiResource) -> Result<Self> {
        let (began, moments, mut watches) = (Instant::now(), Arc::default(), JoinSet::new());
        let follow = |resource: &ApiResource, change: fn(&mut Moment, &Store)| {
            let (store, changes) = reflect(stage, resource);
            let (read, moments) = (store.clone(), Arc::clone(&moments));
            let watching = changes.for_each(move |()| {
                note(&moments, began, |moment| change(moment, &read));
                std::future::ready(())
            });
            (store, watching)
        };
        let (sizes, watching_sizes) =
            follow(kind, |moment, objects| moment.requested = requested(objects));
        let (pods, watching_pods) = follow(&ApiResource::erase::<Pod>(&()), |moment, pods| {
            moment.pods = count(pods, |_| true);
            moment.ready = count(pods, |pod| condition(pod, "Ready") == "True" && !is_ending(pod));
        });
        watches.spawn(watching_sizes);
        watches.spawn(watching_pods);
        sizes.wait_until_ready().await?;
        pods.wait_until_ready().await?;
        let record = Self { began, moments, _watches: watches };
        let both = |moment: &Moment| moment.requested.sum() > 0 && moment.pods.sum() > 0;
        record.until("the sizes and pods of both roles", Duration::from_secs(10), both).await?;
        // The moments before both roles were known are incomplete.
        let now = record.now()?;
        *record.lock() = vec![now];
        Ok(record)
    }

    /// Returns the time since the record began.
    pub(crate) fn time(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns the current state.
    pub(crate) fn now(&self) -> Result<Moment> {
        self.lock().last().copied().context("nothing was seen yet")
    }

    /// Returns all moments so far.
    pub(crate) fn all(&self) -> Vec<Moment> {
        self.lock().clone()
    }

    /// Returns the state at a time, and all moments after it.
    pub(crate) fn since(&self, time: Duration) -> Vec<Moment> {
        let moments = self.lock();
        let before = moments.iter().rposition(|moment| moment.at <= time).unwrap_or(0);
        moments[before..].to_vec()
    }

    /// Waits until `expected` holds for the current state.
    pub(crate) async fn until(
        &self,
        what: &str,
        within: Duration,
        is_so: impl Fn(&Moment) -> bool,
    ) -> Result<Moment> {
        let waiting =
            wait::until(what, within, async || Ok(self.lock().last().copied().filter(&is_so)));
        waiting.await.with_context(|| story(&self.all()))
    }

    /// Watches for a while, and fails if the requested sizes ever differ.
    pub(crate) async fn stays(&self, requested: Sizes, how_long: Duration) -> Result<()> {
        let from = self.time();
        tokio::time::sleep(how_long).await;
        let moments = self.since(from);
        let stayed = moments.iter().all(|moment| moment.requested == requested);
        ensure!(stayed, "the sizes {requested} had to stay:\n{}", story(&moments));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Moment>> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} + {}", self.prefill, self.decode)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, requested, pods, ready } = self;
        write!(f, "{:7.2} s  requested {requested}, pods {pods}, ready {ready}", at.as_secs_f64())
    }
}

/// Formats the last moments, one per line.
pub(crate) fn story(moments: &[Moment]) -> String {
    let last = &moments[moments.len().saturating_sub(25)..];
    let lines: Vec<_> = last.iter().map(|moment| format!("    {moment}")).collect();
    lines.join("\n")
}

/// Caches the objects of a kind. The stream has an item for each change.
fn reflect(stage: &Stage, resource: &ApiResource) -> (Store, impl Stream<Item = ()> + use<>) {
    let api: Api<DynamicObject> = Api::namespaced_with(stage.client(), &stage.namespace, resource);
    let writer = reflector::store::Writer::new(resource.clone());
    let store = writer.as_reader();
    let events = watcher(api, watcher::Config::default()).default_backoff().reflect(writer);
    (store, events.map(|_| ()))
}

/// Adds a moment if `change` changes the last one.
fn note(moments: &Mutex<Vec<Moment>>, began: Instant, change: impl FnOnce(&mut Moment)) {
    let mut moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
    let last = moments.last().copied().unwrap_or_default();
    let mut now = Moment { at: began.elapsed(), ..last };
    change(&mut now);
    if (now.requested, now.pods, now.ready) != (last.requested, last.pods, last.ready) {
        moments.push(now);
    }
}

fn requested(objects: &Store) -> Sizes {
    let objects = objects.state();
    Sizes::of(|name| {
        let found = objects.iter().find(|object| object.name_any() == name);
        found.and_then(|object| number(object, "/spec/replicas")).unwrap_or(0)
    })
}

fn count(pods: &Store, counts: impl Fn(&DynamicObject) -> bool) -> Sizes {
    let pods = pods.state();
    Sizes::of(|name| {
        let its = |pod: &&Arc<DynamicObject>| {
            pod.name_any().starts_with(&format!("{name}-")) && counts(pod)
        };
        pods.iter().filter(its).count() as i64
    })
}

fn is_ending(pod: &DynamicObject) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}
