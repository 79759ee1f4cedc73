//! Shapes: the rate of arrivals over time, as one word.

use std::{collections::BTreeMap, f64::consts::PI, str::FromStr};

use super::Lengths;
use crate::error::SimulateError;

/// The seconds of a day.
const DAY: f64 = 86_400.0;
/// The period of the ripple of a day, in seconds: no divisor of any period of an autoscaler.
const RIPPLE_PERIOD: f64 = 417.0;
/// The rate of a weekend, as a share of that of a working day.
const WEEKEND: f64 = 0.5;

/// The rate of arrivals over time, in requests per second. It is parsed from `KIND:KEY=VALUE,…`:
///
/// | shape | keys, with defaults |
/// |---|---|
/// | `constant` | `rate`, `length` |
/// | `step` | `base`, `peak`, `at=600`, `for=1200`, `length` |
/// | `ramp` | `base`, `peak`, `at=600`, `for=600`, `length` |
/// | `bursts` | `base`, `peak`, `every=300`, `for=30`, `length` |
/// | `day` | `peak`, `low=0.12`, `ripple=0.15`, `length=86400` |
/// | `week` | as `day`, `length=604800`; two of seven days have half the load |
///
/// `stairs:330x2/360x4` has a rate for so many seconds each; `360x6@6000+1000` gives it prompts of
/// 6000 tokens and answers of 1000.
#[derive(Debug, Clone)]
pub struct Shape {
    kind: Kind,
    length: f64,
}

#[derive(Debug, Clone)]
enum Kind {
    /// From `base` to `peak` within `rise` seconds from `at` on; back after `hold` more seconds.
    Rise {
        base: f64,
        peak: f64,
        at: f64,
        rise: f64,
        hold: f64,
    },
    Bursts {
        base: f64,
        peak: f64,
        every: f64,
        hold: f64,
    },
    Days {
        peak: f64,
        low: f64,
        ripple: f64,
        period: f64,
        weekends: bool,
    },
    Stairs(Vec<Stair>),
}

#[derive(Debug, Clone)]
struct Stair {
    until: f64,
    rate: f64,
    lengths: Option<Lengths>,
}

impl Shape {
    /// Returns a constant rate for so many seconds.
    pub fn constant(rate: f64, length: f64) -> Self {
        let stair = Stair { until: length, rate, lengths: None };
        Self { kind: Kind::Stairs(vec![stair]), length }
    }

    /// Returns the length in seconds.
    pub fn duration(&self) -> f64 {
        self.length
    }

    /// Returns the rate at a time since the start.
    pub(super) fn at(&self, time: f64) -> f64 {
        match &self.kind {
            Kind::Rise { base, peak, at, rise, hold } => {
                let since = time - at;
                let is_over = since >= rise + hold;
                let share = if *rise > 0.0 { since / rise } else { 1.0 };
                let share = if since < 0.0 || is_over { 0.0 } else { share.min(1.0) };
                base + (peak - base) * share
            }
            Kind::Bursts { base, peak, every, hold } => {
                if time % every < *hold {
                    *peak
                } else {
                    *base
                }
            }
            Kind::Days { peak, low, ripple, period, weekends } => {
                let day = (PI * time / period).sin().powi(2);
                let level = peak * (low + (1.0 - low) * day);
                let is_weekend = *weekends && (time / period) % 7.0 >= 5.0;
                let level = if is_weekend { level * WEEKEND } else { level };
                level * (1.0 + ripple * (2.0 * PI * time / RIPPLE_PERIOD).sin())
            }
            Kind::Stairs(stairs) => self.stair(stairs, time).map_or(0.0, |stair| stair.rate),
        }
    }

    /// Returns the lengths that the shape itself has at a time.
    pub(super) fn lengths_at(&self, time: f64) -> Option<&Lengths> {
        let Kind::Stairs(stairs) = &self.kind else { return None };
        self.stair(stairs, time)?.lengths.as_ref()
    }

    fn stair<'a>(&self, stairs: &'a [Stair], time: f64) -> Option<&'a Stair> {
        stairs.iter().find(|stair| time < stair.until).filter(|_| time < self.length)
    }

    /// Returns a rate that no other is above.
    pub(super) fn highest(&self) -> f64 {
        match &self.kind {
            Kind::Rise { base, peak, .. } | Kind::Bursts { base, peak, .. } => base.max(*peak),
            Kind::Days { peak, ripple, .. } => peak * (1.0 + ripple),
            Kind::Stairs(stairs) => stairs.iter().map(|stair| stair.rate).fold(0.0, f64::max),
        }
    }
}

impl FromStr for Shape {
    type Err = SimulateError;

    fn from_str(text: &str) -> Result<Self, SimulateError> {
        let shape = Self::parse(text)?;
        if shape.highest() <= 0.0 {
            return Err(SimulateError::new(format!(
                "the rate of {text} is 0 all the time, so that no request arrives; raise it"
            )));
        }
        Ok(shape)
    }
}

impl Shape {
    fn parse(text: &str) -> Result<Self, SimulateError> {
        let (kind, keys) = text.split_once(':').unwrap_or((text, ""));
        if kind == STAIRS {
            return stairs(keys).ok_or_else(|| {
                SimulateError::new(format!(
                    "the stairs {keys} are to be SECONDSxRATE/…, such as 330x2/360x4@4000+1000"
                ))
            });
        }
        let mut keys = Keys::parse(kind, keys)?;
        let shape = match kind {
            "constant" => {
                let rate = keys.take("rate", None)?;
                let kind = Kind::Rise { base: rate, peak: rate, at: 0.0, rise: 0.0, hold: 0.0 };
                Self { kind, length: keys.take("length", None)? }
            }
            "step" | "ramp" => {
                let (base, peak) = (keys.take("base", None)?, keys.take("peak", None)?);
                let at = keys.take("at", Some(600.0))?;
                let time = keys.take("for", Some(if kind == "step" { 1200.0 } else { 600.0 }))?;
                let (rise, hold) = if kind == "step" { (0.0, time) } else { (time, f64::INFINITY) };
                let length = keys.take("length", None)?;
                Self { kind: Kind::Rise { base, peak, at, rise, hold }, length }
            }
            "bursts" => {
                let (base, peak) = (keys.take("base", None)?, keys.take("peak", None)?);
                let every = keys.take("every", Some(300.0))?.max(1.0);
                let hold = keys.take("for", Some(30.0))?;
                let kind = Kind::Bursts { base, peak, every, hold };
                Self { kind, length: keys.take("length", None)? }
            }
            "day" | "week" => {
                let days = if kind == "week" { 7.0 } else { 1.0 };
                let length = keys.take("length", Some(days * DAY))?;
                let period = length / days;
                let peak = keys.take("peak", None)?;
                let low = keys.take("low", Some(0.12))?;
                let ripple = keys.take("ripple", Some(0.15))?;
                let weekends = kind == "week";
                Self { kind: Kind::Days { peak, low, ripple, period, weekends }, length }
            }
            _ => return Err(no_shape(kind)),
        };
        Ok(shape)
    }
}

/// The kinds of shapes with keys, and the keys of each.
const KEYS: [(&str, &[&str]); 6] = [
    ("constant", &["rate", "length"]),
    ("step", &["base", "peak", "at", "for", "length"]),
    ("ramp", &["base", "peak", "at", "for", "length"]),
    ("bursts", &["base", "peak", "every", "for", "length"]),
    ("day", &["peak", "low", "ripple", "length"]),
    ("week", &["peak", "low", "ripple", "length"]),
];
/// The kind of a shape that is a list.
const STAIRS: &str = "stairs";

/// Returns true if a shape has this name.
pub(crate) fn is_shape(name: &str) -> bool {
    name == STAIRS || KEYS.iter().any(|(kind, _)| *kind == name)
}

fn no_shape(kind: &str) -> SimulateError {
    let kinds: Vec<&str> = KEYS.iter().map(|(kind, _)| *kind).collect();
    let kinds = kinds.join(", ");
    SimulateError::new(format!("there is no shape {kind}; there are {kinds} and {STAIRS}"))
}

fn stairs(text: &str) -> Option<Shape> {
    let mut until = 0.0;
    let mut stairs = Vec::new();
    for stair in text.split('/') {
        let (seconds, rest) = stair.split_once('x')?;
        let (rate, lengths) = match rest.split_once('@') {
            None => (rest, None),
            Some((rate, lengths)) => {
                let (prompt, output) = lengths.split_once('+')?;
                let (prompt, output) = (positive(prompt)?, positive(output)?);
                (rate, Some(Lengths::Lognormal { prompt, output, sigma: 0.0 }))
            }
        };
        until += positive(seconds)?;
        stairs.push(Stair { until, rate: positive(rate)?, lengths });
    }
    Some(Shape { kind: Kind::Stairs(stairs), length: until })
}

fn positive(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)
}

/// The keys of a shape that have not been read yet.
struct Keys<'a> {
    kind: &'a str,
    values: BTreeMap<&'a str, f64>,
}

impl<'a> Keys<'a> {
    fn parse(kind: &'a str, text: &'a str) -> Result<Self, SimulateError> {
        let (_, known) = KEYS.iter().find(|it| it.0 == kind).ok_or_else(|| no_shape(kind))?;
        let mut values = BTreeMap::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let parsed = pair.split_once('=');
            let parsed =
                parsed.and_then(|(key, value)| Some((key.trim(), positive(value.trim())?)));
            let Some((key, value)) = parsed else {
                return Err(SimulateError::new(format!(
                    "{pair} in the shape {kind} is to be KEY=NUMBER"
                )));
            };
            if !known.contains(&key) {
                let known = known.join(", ");
                return Err(SimulateError::new(format!(
                    "the shape {kind} takes no {key}; it takes {known}"
                )));
            }
            values.insert(key, value);
        }
        Ok(Self { kind, values })
    }

    fn take(&mut self, key: &str, default: Option<f64>) -> Result<f64, SimulateError> {
        self.values.remove(key).or(default).ok_or_else(|| {
            SimulateError::new(format!("the shape {} has no {key}; add {key}=NUMBER", self.kind))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_its_shape() {
        for (shape, time, expected) in [
            ("constant:rate=7,length=100", 50.0, 7.0),
            ("step:base=16,peak=80,at=600,for=1200,length=3600", 599.0, 16.0),
            ("step:base=16,peak=80,at=600,for=1200,length=3600", 600.0, 80.0),
            ("step:base=16,peak=80,at=600,for=1200,length=3600", 1800.0, 16.0),
            ("ramp:base=10,peak=30,at=100,for=200,length=1000", 200.0, 20.0),
            ("ramp:base=10,peak=30,at=100,for=200,length=1000", 900.0, 30.0),
            ("bursts:base=1,peak=9,every=100,for=10,length=1000", 205.0, 9.0),
            ("bursts:base=1,peak=9,every=100,for=10,length=1000", 215.0, 1.0),
            ("day:peak=100,low=0.2,ripple=0", 43_200.0, 100.0),
            ("day:peak=100,low=0.2,ripple=0", 86_400.0, 20.0),
            ("week:peak=100,ripple=0", 5.5 * 86_400.0, 50.0),
            ("stairs:330x2/360x4", 329.0, 2.0),
            ("stairs:330x2/360x4", 331.0, 4.0),
            ("stairs:330x2/360x4", 691.0, 0.0),
        ] {
            let rate = shape.parse::<Shape>().unwrap().at(time);
            assert!((rate - expected).abs() < 1e-6, "{shape} at {time}: {rate}");
            assert!(rate <= shape.parse::<Shape>().unwrap().highest());
        }
    }

    #[test]
    fn stairs_may_have_lengths_of_their_own() {
        let shape: Shape = "stairs:10x6@6000+1000/10x6".parse().unwrap();
        assert!(matches!(
            shape.lengths_at(5.0),
            Some(Lengths::Lognormal { prompt: 6000.0, output: 1000.0, .. })
        ));
        assert!(shape.lengths_at(15.0).is_none());
    }

    #[test]
    fn a_mistake_in_a_shape_is_named() {
        for (shape, expected) in [
            ("wave:rate=1", "no shape wave"),
            ("constant:rate=1", "has no length"),
            ("constant:rate=1,length=5,low=2", "takes no low; it takes rate, length"),
            ("step:base=8,peek=30", "takes no peek; it takes base, peak, at, for, length"),
            ("constant:rate=x,length=5", "rate=x"),
            ("constant:rate=-1,length=5", "rate=-1"),
            ("stairs:330", "SECONDSxRATE"),
            ("constant:rate=0,length=5", "is 0 all the time"),
            ("stairs:330x0", "is 0 all the time"),
        ] {
            let error = shape.parse::<Shape>().unwrap_err().to_string();
            assert!(error.contains(expected), "{shape}: {error}");
        }
    }
}
