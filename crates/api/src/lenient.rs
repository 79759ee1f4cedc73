//! Reading of records that may be of another shape.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// Reads a record, or none where it cannot be parsed, as one of another version may not. It must
/// not make the rest of the status unreadable.
pub(crate) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}
