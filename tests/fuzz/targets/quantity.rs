//! Kubernetes quantities: every text that the API server accepts has a value, and the right one.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use regex::Regex;

use quantity::{Quantity, show};

// The file is included, because its crate needs a Kubernetes client, which takes minutes to build.
#[path = "../../../crates/api/src/quantity.rs"]
mod quantity;

/// The texts that the API server accepts: the pattern and the length of the field's schema.
static ACCEPTED: LazyLock<(Regex, usize)> = LazyLock::new(|| {
    let schema = serde_json::to_value(schemars::schema_for!(Quantity)).expect("a schema is JSON");
    let pattern =
        Regex::new(schema["pattern"].as_str().expect("it has a pattern")).expect("it is one");
    let longest = schema["maxLength"].as_u64().expect("it has a length");
    (pattern, usize::try_from(longest).expect("and a short one"))
});

fuzz_target!(|text: &str| {
    let quantity = Quantity(text.to_owned());
    let (milli, tolerance) = (quantity.milli(), quantity.tolerance());
    let (pattern, longest) = &*ACCEPTED;
    if text.chars().count() <= *longest && pattern.is_match(text) {
        assert!(milli.is_ok() && tolerance.is_ok(), "{text:?}: {milli:?}, {tolerance:?}");
    }
    if let Ok(number) = text.parse::<i64>() {
        assert_eq!(
            serde_json::from_str::<Quantity>(&number.to_string()).ok(),
            Some(Quantity(number.to_string()))
        );
    }
    let json = serde_json::to_string(&quantity).expect("it is a string");
    assert_eq!(serde_json::from_str::<Quantity>(&json).ok(), Some(quantity), "{text:?}");

    assert_eq!(milli.is_ok(), tolerance.is_ok(), "{text:?}");
    let (Ok(milli), Ok(tolerance)) = (milli, tolerance) else { return };
    assert!(tolerance.is_finite(), "{text:?}: {tolerance}");
    assert_eq!(Quantity(show(milli)).milli(), Ok(milli), "{text:?}");
    // Thousandths are rounded away from zero, and saturate at the limits of an i64.
    let exact = value(text) * 1000.0;
    let noise = exact.abs() * 1e-12;
    let rounded = (milli.0 as f64).abs();
    let sign = milli.0 as f64 * exact >= 0.0;
    if exact.abs() < 9.2e18 {
        let near = exact.abs() - noise <= rounded && rounded <= (exact.abs() + noise).ceil();
        assert!(near && sign, "{text:?}: {} for {exact}", milli.0);
    } else {
        assert!(rounded > 9.1e18 && sign, "{text:?}: {} for {exact}", milli.0);
    }
    assert!(
        (tolerance * 1000.0 - exact).abs() <= noise,
        "{text:?}: {tolerance} for {exact} thousandths"
    );
});

/// Returns a valid quantity as a float.
fn value(text: &str) -> f64 {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let binary = |power| number.parse::<f64>().map(|number| number * 1024f64.powi(power));
    let power = match suffix {
        "Ki" => return binary(1).expect(text),
        "Mi" => return binary(2).expect(text),
        "Gi" => return binary(3).expect(text),
        "Ti" => return binary(4).expect(text),
        "Pi" => return binary(5).expect(text),
        "Ei" => return binary(6).expect(text),
        "n" => "-9",
        "u" => "-6",
        "m" => "-3",
        "" => "0",
        "k" => "3",
        "M" => "6",
        "G" => "9",
        "T" => "12",
        "P" => "15",
        "E" => "18",
        exponent => &exponent[1..],
    };
    format!("{number}e{power}").parse().expect(text)
}
