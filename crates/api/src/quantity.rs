//! Kubernetes quantities: `"5"`, `800m`, `2Ki`, `1e3`.
//!
//! Grammar and rounding are those of `resource.Quantity`: a sign, decimal digits, and a binary
//! suffix, a decimal suffix or an exponent. A quantity is held as text, so that it is shown as it
//! was written.

use std::fmt;

use llm_autoscaler_core::{Milli, Precision, Proposal};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// A quantity as it was written. In the resource it is a number or a string, here always a string.
///
/// ```
/// use llm_autoscaler_api::Quantity;
/// use llm_autoscaler_core::Milli;
///
/// assert_eq!(Quantity("1.5k".to_owned()).milli()?, Milli(1_500_000));
/// assert!(Quantity("five".to_owned()).milli().is_err());
/// # Ok::<(), llm_autoscaler_api::QuantityError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

/// A text that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a quantity: write a number such as \"5\", \"0.8\", 800m or 2Ki")]
pub struct QuantityError {
    /// The text.
    pub text: String,
}

/// The number `digits ÷ 10^scale`. The digits leave room for a multiplication by 100.
#[derive(Clone, Copy)]
struct Exact {
    digits: i128,
    scale: i32,
}

const BINARY: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 9] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

impl Quantity {
    /// Returns the value in thousandths, saturating. Further digits are rounded away from zero.
    ///
    /// # Errors
    /// The text is not a quantity.
    pub fn milli(&self) -> Result<Milli, QuantityError> {
        let Exact { digits, scale } = self.parse()?;
        let shift = 3 - scale;
        let power = 10i128.saturating_pow(shift.unsigned_abs());
        let milli =
            if shift >= 0 { digits.saturating_mul(power) } else { away_from_zero(digits, power) };
        Ok(Milli(milli.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64))
    }

    /// Returns the value as the HPA computes a tolerance: the API server's canonical digits times a
    /// power of ten, in one multiplication (`0.3` is stored as `300m` and read as 300 × 0.001).
    ///
    /// # Errors
    /// The text is not a quantity.
    pub fn tolerance(&self) -> Result<f64, QuantityError> {
        let Exact { mut digits, mut scale } = self.parse()?;
        while digits != 0 && digits % 10 == 0 {
            digits /= 10;
            scale -= 1;
        }
        while scale.rem_euclid(3) != 0 {
            digits *= 10;
            scale += 1;
        }
        Ok(if scale == 0 { digits as f64 } else { digits as f64 * 10f64.powi(-scale) })
    }

    fn parse(&self) -> Result<Exact, QuantityError> {
        self.read().ok_or_else(|| QuantityError { text: self.0.clone() })
    }

    fn read(&self) -> Option<Exact> {
        let text = self.0.trim();
        let number_end = text
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(number_end);
        let exact = decimal(number)?;
        if suffix.is_empty() {
            return Some(exact);
        }
        if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
            return Some(exact.times(1 << bits));
        }
        let power = match DECIMAL.iter().find(|(name, _)| *name == suffix) {
            Some((_, power)) => *power,
            None => suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?,
        };
        (-99..=99).contains(&power).then_some(Exact { scale: exact.scale - power, ..exact })
    }
}

impl Exact {
    /// Multiplies by a factor of at most 2^60. Digits that do not fit are beyond the twentieth, and
    /// are rounded away from zero.
    fn times(mut self, factor: i128) -> Self {
        loop {
            if self.digits.checked_mul(100 * factor).is_some() {
                return Self { digits: self.digits * factor, ..self };
            }
            self = Self { digits: away_from_zero(self.digits, 10), scale: self.scale - 1 };
        }
    }
}

fn away_from_zero(digits: i128, divisor: i128) -> i128 {
    digits / divisor + i128::from(digits % divisor != 0) * digits.signum()
}

/// Parses a decimal number: `-1.25` gives the digits -125 and the scale 2. It refuses more than 36
/// digits; the schema allows 32.
fn decimal(text: &str) -> Option<Exact> {
    let (sign, text) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || digits.len() > 36 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Exact { digits: sign * digits.parse::<i128>().ok()?, scale: fraction.len() as i32 })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IntOrText {
            Int(i64),
            Text(String),
        }
        Ok(Self(match IntOrText::deserialize(deserializer)? {
            IntOrText::Int(number) => number.to_string(),
            IntOrText::Text(text) => text,
        }))
    }
}

/// The API server's own schema of such a field. `maxLength` limits the cost of CEL rules.
impl JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$",
        })
    }
}

/// Formats a value in thousandths as `kubectl get hpa` does: `11`, `12500m`.
pub fn show(value: Milli) -> String {
    if value.0 % 1000 == 0 { (value.0 / 1000).to_string() } else { format!("{}m", value.0) }
}

/// Formats the usage of a proposal, with its precision: `60`, `>60`, `<300m`. In the last, the
/// bound is more useful than the estimate below it.
pub fn show_usage(proposal: &Proposal) -> String {
    match proposal.precision {
        Precision::Exact => show(proposal.usage),
        Precision::AtLeast => format!(">{}", show(proposal.usage)),
        Precision::AtMost(bound) => format!("<{}", show(bound)),
    }
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_core::Counted;

    use super::*;

    #[test]
    fn thousandths() {
        let table = [
            ("5", 5000),
            ("0.8", 800),
            ("800m", 800),
            ("-1.5", -1500),
            ("+2", 2000),
            (".5", 500),
            ("1.", 1000),
            ("1k", 1_000_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("1E", i64::MAX),
            ("2Ki", 2_048_000),
            ("0.5Ki", 512_000),
            ("1u", 1),
            ("1n", 1),
            ("1001u", 2),
            ("-1n", -1),
            ("9Ei", i64::MAX),
            // Whatever the schema lets pass has a value, as in the API server.
            ("1e99", i64::MAX),
            ("-1E+99", i64::MIN),
            ("0e99", 0),
            ("1e-99", 1),
            ("99999999999999999999999999999999", i64::MAX),
            ("-.0000000000000000000000000000001", -1),
            ("0.9999999999999999999999999999Pi", 1_125_899_906_842_624_000),
        ];
        for (text, milli) in table {
            assert_eq!(Quantity(text.into()).milli(), Ok(Milli(milli)), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_says_so() {
        for text in [
            "", "five", "5 apples", "1.2.3", "--1", "0x10", "1e100", "1Zi", "5mm", ".", "+", "+-1",
            "1e",
        ] {
            let error = Quantity(text.into()).milli().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn tolerances_are_the_apiservers_digits_times_a_power_of_ten() {
        let table = [
            ("0.1", 100.0 * 0.001),
            ("0.3", 300.0 * 0.001),
            ("300m", 300.0 * 0.001),
            ("0", 0.0),
            ("1", 1.0),
            ("0.0005", 500.0 * 1e-6),
            ("10", 10.0),
            ("99999999999999999999999999.9Ki", 1.024e32 * 0.001),
        ];
        for (text, value) in table {
            assert_eq!(
                Quantity(text.into()).tolerance().map(f64::to_bits),
                Ok(f64::to_bits(value)),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_are_taken_too() {
        assert_eq!(serde_json::from_str::<Quantity>("5").unwrap(), Quantity("5".into()));
        assert_eq!(serde_json::from_str::<Quantity>("\"5\"").unwrap(), Quantity("5".into()));
        assert!(serde_json::from_str::<Quantity>("0.8").is_err());
    }

    #[test]
    fn values_are_shown_as_kubectl_does() {
        assert_eq!(show(Milli(11_000)), "11");
        assert_eq!(show(Milli(12_500)), "12500m");
        let shown = |usage, precision| {
            let (usage, counted) = (Milli(usage), Counted::default());
            show_usage(&Proposal { replicas: 3, usage, precision, ratio: 1.0, counted })
        };
        assert_eq!(shown(60_000, Precision::Exact), "60");
        assert_eq!(shown(60_000, Precision::AtLeast), ">60");
        assert_eq!(shown(270, Precision::AtMost(Milli(300))), "<300m");
    }
}
