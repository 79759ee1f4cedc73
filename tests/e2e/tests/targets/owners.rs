//! Each target has one owner among autoscalers, and the others report it.

pub(crate) mod by_hand;
pub(crate) mod claims;
pub(crate) mod drivers;
pub(crate) mod pausing;
pub(crate) mod recommend;

use serde_json::{Value, json};

/// Returns a reference to a StatefulSet.
fn stateful_set(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name})
}
