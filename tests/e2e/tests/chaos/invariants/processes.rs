//! The memory of each copy is limited and flat, no copy ends by itself, and no task panics.

use std::collections::BTreeMap;

use super::Violation;
use crate::evidence::{CopyLook, Timeline};

const LIMIT: &str = "a copy has at most 256 MB";
const FLAT: &str = "the memory of a copy is flat";
const ALIVE: &str = "no copy ends by itself";
const PANICS: &str = "no task panics";

/// The memory that a copy may have, in MB.
const MOST_MB: u64 = 256;
/// The growth from the second to the last third of a life that is no leak, in MB.
const GROWTH_MB: u64 = 24;
/// The number of looks, each second, below which a life is too short to be judged for growth.
const LONG: usize = 180;

pub(crate) fn check(timeline: &Timeline) -> Vec<Violation> {
    let mut lives: BTreeMap<&str, Vec<&CopyLook>> = BTreeMap::new();
    for look in &timeline.copies {
        lives.entry(&look.life).or_default().push(look);
    }
    lives.into_iter().flat_map(|(life, looks)| of_life(life, &looks)).collect()
}

fn of_life(life: &str, looks: &[&CopyLook]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut tell = |invariant, look: &CopyLook, evidence: String| {
        found.push(Violation::new(invariant, look.at, life, evidence));
    };
    if let Some(look) = looks.iter().find(|look| look.memory_mb.is_none()) {
        tell(ALIVE, look, "it runs no more, and the test has not ended it".to_owned());
    }
    if let Some(look) = looks.iter().find(|look| look.panics > 0) {
        tell(PANICS, look, format!("llm_autoscaler_panics_total is {}", look.panics));
    }
    let memory: Vec<_> = looks.iter().filter_map(|look| Some((*look, look.memory_mb?))).collect();
    if let Some((look, most)) = memory.iter().find(|(_, memory)| *memory > MOST_MB) {
        tell(LIMIT, look, format!("it has {most} MB"));
    }
    if memory.len() >= LONG {
        let third = memory.len() / 3;
        let before = median(&memory[third..2 * third]);
        let after = median(&memory[2 * third..]);
        if after > before + GROWTH_MB {
            let last = memory[memory.len() - 1].0;
            tell(FLAT, last, format!("it has grown from {before} to {after} MB"));
        }
    }
    found
}

fn median(looks: &[(&CopyLook, u64)]) -> u64 {
    let mut memory: Vec<_> = looks.iter().map(|(_, memory)| *memory).collect();
    memory.sort_unstable();
    memory.get(memory.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges a life of 300 s with this memory at each second.
    fn judge(memory: impl Fn(u32) -> Option<u64>, panics: u64) -> Vec<&'static str> {
        let look = |second: u32| CopyLook {
            life: "copy-0 start 0".to_owned(),
            at: f64::from(second),
            memory_mb: memory(second),
            panics,
        };
        let timeline = Timeline { copies: (0..300).map(look).collect(), ..Timeline::default() };
        check(&timeline).iter().map(|it| it.invariant).collect()
    }

    #[test]
    fn memory_that_grows_and_copies_that_end_are_found() {
        assert_eq!(judge(|_| Some(60), 0), [""; 0]);
        assert_eq!(judge(|second| Some(if second < 50 { 20 } else { 60 }), 0), [""; 0]);
        assert_eq!(judge(|second| Some(if second == 70 { 120 } else { 60 }), 0), [""; 0]);
        assert_eq!(judge(|second| Some(if second == 70 { 257 } else { 60 }), 0), [LIMIT]);
        assert_eq!(judge(|second| Some(60 + u64::from(second) / 3), 0), [FLAT]);
        assert_eq!(judge(|second| (second < 200).then_some(60), 0), [ALIVE]);
        assert_eq!(judge(|_| Some(60), 1), [PANICS]);
    }
}
