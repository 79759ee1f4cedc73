//! The fields that every case has.

use serde::Deserialize;

use super::fields::or_default;

/// The ID of a case, and the mode that decides how the rest is read.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "struct Case")]
pub(super) struct Header {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) mode: String,
}
