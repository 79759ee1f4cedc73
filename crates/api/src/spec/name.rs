//! Names that a spec takes from the tables of `llm_autoscaler_engines`.

use std::{borrow::Cow, fmt};

use llm_autoscaler_engines::{Engine, Gateway, Signal, TargetType};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// An entry of a table in `llm_autoscaler_engines`, which a spec writes by its name.
///
/// The table is the only list of these names, so a new entry is at once a value that the schema
/// allows and describes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name<T>(pub T);

/// A signal by its name, such as `WaitingRequests`.
pub type SignalName = Name<Signal>;
/// An inference engine by its name, such as `VLLM`.
pub type EngineName = Name<Engine>;
/// A gateway by its name, such as `SMG`.
pub type GatewayName = Name<Gateway>;
/// A type of target by its name, `AverageValue` or `Value`.
pub type TargetTypeName = Name<TargetType>;

/// An entry of a table, with a name.
pub trait Named: Copy + 'static {
    /// The name of the schema.
    const SCHEMA: &'static str;
    /// A sentence that introduces the list of all entries.
    const DESCRIPTION: &'static str;
    /// Every entry, in the order of the documentation.
    const ALL: &'static [Self];

    /// Returns the name that a spec uses.
    fn name(self) -> &'static str;

    /// Returns a sentence that describes the entry.
    fn describe(self) -> String;
}

impl Named for Signal {
    const SCHEMA: &'static str = "SignalName";
    const DESCRIPTION: &'static str = concat!(
        "A quantity that engines report about themselves, by a name that is the same for all of ",
        "them. Not every engine reports each of these:",
    );
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.info().name
    }

    fn describe(self) -> String {
        let info = self.info();
        format!("{} Unit: {}.", info.doc, info.unit)
    }
}

impl Named for Engine {
    const SCHEMA: &'static str = "EngineName";
    const DESCRIPTION: &'static str = "An inference engine:";
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.profile().name
    }

    fn describe(self) -> String {
        format!("{}.", self.profile().display)
    }
}

impl Named for Gateway {
    const SCHEMA: &'static str = "GatewayName";
    const DESCRIPTION: &'static str = "A gateway in front of engines:";
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.profile().table.name
    }

    fn describe(self) -> String {
        format!("{}.", self.profile().table.display)
    }
}

impl Named for TargetType {
    const SCHEMA: &'static str = "TargetType";
    const DESCRIPTION: &'static str = "The type of a target:";
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.name()
    }

    fn describe(self) -> String {
        match self {
            Self::AverageValue => "The mean over the replicas is kept at averageValue.".to_owned(),
            Self::Value => "The value of the service is kept at value.".to_owned(),
        }
    }
}

impl<T> From<T> for Name<T> {
    fn from(entry: T) -> Self {
        Self(entry)
    }
}

impl<T: Named> fmt::Debug for Name<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl<T: Named> Serialize for Name<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de, T: Named> Deserialize<'de> for Name<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let entry = T::ALL.iter().find(|entry| entry.name() == name);
        entry.copied().map(Self).ok_or_else(|| {
            let names: Vec<String> = T::ALL.iter().map(|e| format!("`{}`", e.name())).collect();
            let names = names.join(", ");
            D::Error::custom(format!("unknown variant `{name}`, expected one of {names}"))
        })
    }
}

impl<T: Named> JsonSchema for Name<T> {
    fn schema_name() -> Cow<'static, str> {
        T::SCHEMA.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let variants: Vec<Schema> = T::ALL.iter().map(|entry| variant(*entry)).collect();
        // A CRD's schema has no descriptions of single values, so they are part of this one.
        let described = T::ALL.iter().map(|e| format!("\n- {}: {}", e.name(), e.describe()));
        let description = T::DESCRIPTION.to_owned() + &described.collect::<String>();
        json_schema!({"description": description, "oneOf": variants})
    }
}

fn variant(entry: impl Named) -> Schema {
    json_schema!({"type": "string", "const": entry.name(), "description": entry.describe()})
}
