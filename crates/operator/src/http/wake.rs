//! Wake calls for targets at zero, on their way from the HTTP server to the autoscalers.
//!
//! A call may reach any copy of the operator. The autoscalers that this copy serves are told at
//! once. The others, and whoever serves these ones next, learn of it from `status.lastWakeTime`
//! ([`wake_record`](crate::http::wake_record)).

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use kube::ResourceExt;
use llm_autoscaler_api::LLMAutoscaler;
use tokio::sync::Notify;

use crate::lock::lock;

/// The namespace and the name of an autoscaler.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AutoscalerKey {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl AutoscalerKey {
    /// Returns the key of an autoscaler.
    pub(crate) fn of(object: &LLMAutoscaler) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

/// The autoscalers that can be woken; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct WakeCalls(Arc<Mutex<Autoscalers>>);

#[derive(Default)]
struct Autoscalers {
    /// Those that exist, whichever copy of the operator serves them.
    known: HashSet<AutoscalerKey>,
    /// Notified of calls, for each one that this copy serves.
    listeners: HashMap<AutoscalerKey, Arc<Notify>>,
}

/// Receives the wake calls of one autoscaler, until it is dropped.
pub(crate) struct WakeListener {
    calls: WakeCalls,
    key: AutoscalerKey,
    called: Arc<Notify>,
}

impl WakeCalls {
    /// Begins to listen for the calls of an autoscaler. An earlier listener of the same name
    /// receives no more calls.
    pub(crate) fn listen(&self, key: AutoscalerKey) -> WakeListener {
        let called = Arc::new(Notify::new());
        self.lock().listeners.insert(key.clone(), called.clone());
        WakeListener { calls: self.clone(), key, called }
    }

    /// Records that an autoscaler exists, or that it does not any more.
    pub(crate) fn set_known(&self, key: AutoscalerKey, is_known: bool) {
        let mut autoscalers = self.lock();
        if is_known {
            autoscalers.known.insert(key);
        } else {
            autoscalers.known.remove(&key);
        }
    }

    /// Returns whether an autoscaler has this name.
    pub(crate) fn is_known(&self, key: &AutoscalerKey) -> bool {
        self.lock().known.contains(key)
    }

    /// Passes a call on to an autoscaler. Returns false if this copy does not serve it.
    pub(super) fn send(&self, key: &AutoscalerKey) -> bool {
        let autoscalers = self.lock();
        let Some(called) = autoscalers.listeners.get(key) else { return false };
        called.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Autoscalers> {
        lock(&self.0)
    }
}

impl WakeListener {
    /// Returns when a call has arrived since this method last returned.
    pub(crate) async fn next_call(&mut self) {
        self.called.notified().await;
    }
}

impl Drop for WakeListener {
    fn drop(&mut self) {
        let listeners = &mut self.calls.lock().listeners;
        let called = listeners.get(&self.key);
        // A later listener of the same name stays.
        if called.is_some_and(|called| Arc::ptr_eq(called, &self.called)) {
            listeners.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn key(name: &str) -> AutoscalerKey {
        AutoscalerKey { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_call_reaches_the_autoscaler_that_listens_under_its_name() {
        let calls = WakeCalls::default();
        let mut listener = calls.listen(key("a"));
        assert!(!calls.send(&key("b")), "no autoscaler has this name");
        assert_eq!(listener.next_call().now_or_never(), None);
        assert!(calls.send(&key("a")) && calls.send(&key("a")));
        assert_eq!(listener.next_call().now_or_never(), Some(()));
        assert_eq!(listener.next_call().now_or_never(), None, "two calls are one");
    }

    #[test]
    fn a_dropped_listener_leaves_a_later_one_of_its_name() {
        let calls = WakeCalls::default();
        let (mut first, mut second) = (calls.listen(key("a")), calls.listen(key("a")));
        assert!(calls.send(&key("a")));
        assert_eq!(first.next_call().now_or_never(), None);
        drop(first);
        assert_eq!(second.next_call().now_or_never(), Some(()));
        drop(second);
        assert!(!calls.send(&key("a")));
    }
}
