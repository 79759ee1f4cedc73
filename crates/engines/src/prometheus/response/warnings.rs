//! The warnings of a response, read without taking more memory than their text.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};

use crate::shortened::shortened;

/// The number of warnings that are kept.
pub(super) const MOST_WARNINGS: usize = 10;

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
                while first.len() < MOST_WARNINGS {
                    let next = list.next_element::<Cow<'de, str>>()?;
                    let Some(warning) = next else { return Ok(Warnings(first)) };
                    first.push(short(&warning));
                }
                while list.next_element::<de::IgnoredAny>()?.is_some() {}
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
