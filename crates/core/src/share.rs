//! Roles in proportion: several targets of one service, each with its own decision, and what they have in common.
//!
//! ```text
//! what each wants ─> mend (the ratio) ─> fit (the ceilings) ─> grow into the room that is free ─> one size for each
//! ```
//!
//! The invariants: nobody loses a replica that it wants to another role, unless the ratio or a ceiling is broken already; what is
//! in doubt is never taken away; nobody is given more than it wants but for what the ratio takes; and what exists, with what is
//! asked for, never grows beyond a ceiling.

mod ceiling;
mod lag;
mod order;
mod ratio;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use chrono::{DateTime, Utc};

use crate::{Decision, History, Outcome, Policy, limit};

pub use lag::Lag;
pub use order::next_write;
pub use ratio::Ratio;

/// What roles have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The range in which two of them are to each other.
    pub ratio: Option<Ratio>,
    /// The most replicas of all roles together.
    pub max_replicas: i64,
    /// The most GPUs of all roles together.
    pub max_gpus: Option<i64>,
}

/// One role, for the moment of one decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// How many replicas are asked for.
    pub current: i32,
    /// How many its own decision asks for; those that are asked for where it asks for nothing.
    pub wanted: i32,
    /// The fewest that it may be brought to now for the sake of the others.
    pub lowest: i32,
    /// The most that it may be brought to now for the sake of the others.
    pub highest: i32,
    /// The most that it may ever have.
    pub most: i32,
    /// How many replicas there are or will be by what is asked for, and those that are about to end beside them.
    pub exist: i32,
    /// How many of those that are asked for do not come.
    pub lagging: i32,
    /// How many GPUs one replica takes.
    pub gpus: i64,
    /// Somebody else has set its size, which is respected.
    pub by_hand: bool,
}

/// How the others change what a role's own decision asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// The ratio asks for more, or allows no more.
    Ratio,
    /// The other role of the ratio lags, and is waited for.
    Lagging,
    /// The roles want more together than a ceiling allows.
    Ceiling,
    /// There will be room when other replicas are gone.
    Room,
}

/// The number of replicas of one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The number.
    pub replicas: i32,
    /// Why it is not what its own decision asks for, where it is not.
    pub tie: Option<Tie>,
}

impl Part {
    /// A role whose own decision is made. `fixed` is one that somebody else keeps at its size.
    pub fn of(
        (policy, history): (&Policy, &History),
        decision: &Decision,
        fixed: bool,
        now: DateTime<Utc>,
    ) -> Self {
        let current = decision.current;
        let stays = Self { current, most: policy.max_replicas, exist: current, ..Self::default() };
        let at = |size| Self { wanted: size, lowest: size, highest: size, ..stays };
        if fixed {
            return Self { by_hand: true, ..at(current) };
        }
        let (lowest, highest) = limit::reach(policy, history, current, now);
        match &decision.outcome {
            Outcome::Disabled | Outcome::NoSelector => at(current),
            Outcome::OutOfBounds { to, .. } => at(*to),
            // Nobody knows what it needs: it is not made smaller.
            Outcome::Blind { .. } | Outcome::Silent => {
                Self { highest: highest.max(current), ..at(current) }
            }
            Outcome::Fallback { derivation, .. } => Self {
                highest: highest.max(derivation.desired),
                lowest: current,
                ..at(derivation.desired)
            },
            Outcome::Computed(derivation) => {
                let wanted = derivation.desired;
                let lowest = if derivation.held.is_some() { current } else { lowest };
                Self { lowest: lowest.min(wanted), highest: highest.max(wanted), ..at(wanted) }
            }
        }
    }

    /// What it keeps in any case, unless something is broken; what it has to have, where it has not even that.
    fn kept(&self, agreed: i32) -> i32 {
        self.current.max(self.lowest).min(agreed)
    }
}

/// One number of replicas for each role, in their order.
pub fn share(terms: &Terms, parts: &[Part]) -> Vec<Share> {
    let wanted: Vec<i32> = parts.iter().map(|part| part.wanted).collect();
    let agreed = terms
        .ratio
        .map_or_else(|| wanted.clone(), |ratio| ratio.wait(parts, &ratio.mend(parts, &wanted)));
    let fitting = ceiling::fit(terms, parts, &agreed);
    let now = ceiling::grow(terms, parts, &fitting);
    let of = |role: usize| {
        let replicas = now[role];
        let tie = match replicas.cmp(&wanted[role]) {
            Ordering::Equal => None,
            Ordering::Greater => Some(Tie::Ratio),
            Ordering::Less if agreed[role] < wanted[role] => {
                let waits = terms.ratio.is_some_and(|ratio| ratio.waits(parts, role));
                Some(if waits { Tie::Lagging } else { Tie::Ratio })
            }
            Ordering::Less if fitting[role] < agreed[role] => Some(Tie::Ceiling),
            Ordering::Less => Some(Tie::Room),
        };
        Share { replicas, tie }
    };
    (0..parts.len()).map(of).collect()
}
