//! One owner for each target: who it is, and what becomes of the others.

pub mod by_hand;
pub mod claims;
pub mod drivers;
pub mod pausing;

use serde_json::{Value, json};

/// A reference to a StatefulSet.
fn stateful_set(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name})
}
