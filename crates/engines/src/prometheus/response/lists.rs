//! The lists of a response, read without taking more memory than their text.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::shortened::shortened;

/// The number of warnings that are kept.
const MOST_WARNINGS: usize = 10;

/// The elements of a result, which are objects: a list of anything else would take more memory than
/// its text.
pub(super) struct Elements<'a>(pub(super) Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of series")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element::<&RawValue>()? {
                    if !element.get().starts_with('{') {
                        return Err(de::Error::custom("an element is no series"));
                    }
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

/// The first of a server's warnings, in short.
#[derive(Default)]
pub(super) struct Warnings(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Warnings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Warnings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of warnings")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Warnings, A::Error> {
                let mut first = Vec::new();
                while let Some(warning) = list.next_element::<Cow<'de, str>>()? {
                    if first.len() < MOST_WARNINGS {
                        first.push(short(&warning));
                    }
                }
                Ok(Warnings(first))
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

/// Makes a server's text short and printable, because it ends up in conditions.
pub(super) fn short(text: &str) -> String {
    const LONGEST: usize = 300;
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    shortened(text, LONGEST).chars().map(printable).collect()
}
