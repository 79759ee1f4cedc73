//! The record of a migration, in an annotation of its LLMAutoscaler.

use llm_autoscaler_api::LLMAutoscaler;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::refusal::Refusal;

/// The annotation of an `LLMAutoscaler` with the record of its migration.
pub const MIGRATION: &str = "llmautoscaler.io/migration";
/// The longest record, in bytes. All annotations of an object have 256 KiB together.
const LONGEST: usize = 200 << 10;

/// How far a migration has come. It is written before its first step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The other autoscaler is being stopped.
    Stopping,
    /// The other autoscaler has stopped, and the size is being adopted.
    Adopting,
    /// The LLMAutoscaler scales.
    Switched,
    /// The LLMAutoscaler only recommends again, and the other autoscaler is being restored.
    Restoring,
}

/// The autoscaler that a migration stops, as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedSource {
    /// The UID of the object.
    pub uid: String,
    /// The object without its status and without what the API server adds to it.
    pub manifest: Value,
}

/// The record of a migration: everything that continuing it and going back need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// How far it has come.
    pub stage: Stage,
    /// The size of the target when it began.
    pub replicas: i32,
    /// The autoscaler that it stops; absent if nothing has scaled the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SavedSource>,
}

impl Record {
    /// Returns the record of an LLMAutoscaler.
    ///
    /// # Errors
    /// The annotation is no record.
    pub(super) fn of(autoscaler: &LLMAutoscaler) -> Result<Option<Self>, Refusal> {
        let annotations = autoscaler.metadata.annotations.as_ref();
        let Some(text) = annotations.and_then(|all| all.get(MIGRATION)) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| {
            let name = autoscaler.metadata.name.as_deref().unwrap_or_default();
            Refusal(format!(
                "the annotation {MIGRATION} of the LLMAutoscaler {name} is no record of a \
                 migration ({error}): restore it, or remove it to begin anew"
            ))
        })
    }

    /// Returns the text of the annotation.
    ///
    /// # Errors
    /// The manifest of the source is too large for an annotation.
    pub fn text(&self) -> Result<String, Refusal> {
        let text = serde_json::to_string(self).map_err(|error| Refusal(error.to_string()))?;
        if text.len() > LONGEST {
            return Err(Refusal(format!(
                "the manifest of the other autoscaler has {} bytes, which is too much for an \
                 annotation: switch over by hand (docs/recommend.md)",
                text.len()
            )));
        }
        Ok(text)
    }

    /// Returns the record at another stage.
    pub(super) fn at(&self, stage: Stage) -> Self {
        Self { stage, ..self.clone() }
    }
}
