//! The engine profiles: how fast a model is on an accelerator.

use std::collections::BTreeMap;

use llm_autoscaler_sim::ReplicaConfig;
use serde::{Deserialize, Serialize};

use crate::error::SimulateError;

/// The profiles of the crate, as a file of data.
const PROFILES: &str = include_str!("../data/profiles.json");

/// The name of the profile that is used if none is named.
pub const DEFAULT_PROFILE: &str = "q32-h100x2";

/// The speed and the capacity of one replica, and where the numbers are from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineProfile {
    /// The model and its number format.
    pub model: String,
    /// The accelerators of one replica.
    pub accelerator: String,
    /// The number of GPUs of one replica.
    pub gpus: u32,
    /// The duration of a step with nothing to do, in milliseconds.
    pub base_ms: f64,
    /// The time that each prompt token adds to a step, in milliseconds.
    pub prefill_ms_per_token: f64,
    /// The time that each decoding sequence adds to a step, in milliseconds.
    pub sequence_ms: f64,
    /// The time that each token in the KV cache adds to a step, in microseconds.
    pub kv_us_per_token: f64,
    /// The number of tokens that the KV cache holds.
    pub kv_tokens: u64,
    /// The largest number of tokens in one step.
    pub max_batched_tokens: u64,
    /// The largest number of sequences that run at once.
    pub max_num_seqs: usize,
    /// The source of the numbers.
    pub source: String,
}

impl EngineProfile {
    /// Returns the profiles of the crate by name.
    ///
    /// # Errors
    /// Fails if the file of the crate is malformed, which a test excludes.
    pub fn all() -> Result<BTreeMap<String, Self>, SimulateError> {
        Self::parse(PROFILES)
    }

    /// Parses profiles by name, in the format of `data/profiles.json`.
    ///
    /// # Errors
    /// Fails on malformed JSON, and on a profile that no engine could have.
    pub fn parse(text: &str) -> Result<BTreeMap<String, Self>, SimulateError> {
        let profiles: BTreeMap<String, Self> = serde_json::from_str(text)
            .map_err(|error| SimulateError::new(format!("the engine profiles: {error}")))?;
        for (name, profile) in &profiles {
            profile.check().map_err(|problem| {
                SimulateError::new(format!("the engine profile {name}: {problem}"))
            })?;
        }
        Ok(profiles)
    }

    /// Returns the profile with this name.
    ///
    /// # Errors
    /// Fails if there is none; the error lists those that there are.
    pub fn named(name: &str) -> Result<Self, SimulateError> {
        let mut profiles = Self::all()?;
        profiles.remove(name).ok_or_else(|| {
            let names: Vec<&str> = profiles.keys().map(String::as_str).collect();
            let names = names.join(", ");
            SimulateError::new(format!("there is no engine profile {name}; there are {names}"))
        })
    }

    fn check(&self) -> Result<(), &'static str> {
        let times =
            [self.base_ms, self.prefill_ms_per_token, self.sequence_ms, self.kv_us_per_token];
        if times.iter().any(|time| !time.is_finite() || *time < 0.0) || self.base_ms <= 0.0 {
            return Err("times are numbers of at least 0, and base_ms is above 0");
        }
        if self.kv_tokens == 0 || self.max_batched_tokens == 0 || self.max_num_seqs == 0 {
            return Err("kv_tokens, max_batched_tokens and max_num_seqs are at least 1");
        }
        Ok(())
    }

    /// Returns the work of a request, in seconds of a replica that is busy with many.
    pub fn work(&self, prompt_tokens: u32, output_tokens: u32, cached: f64) -> f64 {
        let replica = self.replica();
        let (prompt, output) = (f64::from(prompt_tokens), f64::from(output_tokens));
        replica.per_prefill_token * prompt * (1.0 - cached)
            + replica.per_sequence * output
            + replica.per_kv_token * output * (prompt + output / 2.0)
    }

    /// Returns the configuration of a replica.
    pub fn replica(&self) -> ReplicaConfig {
        ReplicaConfig {
            base: self.base_ms / 1e3,
            per_prefill_token: self.prefill_ms_per_token / 1e3,
            per_sequence: self.sequence_ms / 1e3,
            per_kv_token: self.kv_us_per_token / 1e6,
            kv_tokens: self.kv_tokens,
            max_batched_tokens: self.max_batched_tokens,
            max_num_seqs: self.max_num_seqs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_sound_and_names_its_source() {
        let profiles = EngineProfile::all().unwrap();
        assert!(profiles.contains_key(DEFAULT_PROFILE));
        assert!(profiles.values().all(|profile| !profile.source.is_empty() && profile.gpus > 0));
    }

    #[test]
    fn an_unknown_profile_is_answered_with_the_known_ones() {
        let error = EngineProfile::named("h300").unwrap_err().to_string();
        assert!(error.contains("h300") && error.contains(DEFAULT_PROFILE), "{error}");
    }

    #[test]
    fn a_profile_that_no_engine_could_have_is_refused() {
        for (from, to) in [("\"base_ms\": 17,", "\"base_ms\": 0,"), ("284000", "0")] {
            let error = EngineProfile::parse(&PROFILES.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains("q32-h100x2"), "{error}");
        }
    }
}
