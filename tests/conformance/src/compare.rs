//! Compares the oracle's answers with those of `llm-autoscaler evaluate`.

use std::{
    collections::BTreeMap,
    error::Error,
    fs::File,
    io::{self, BufReader},
};

use serde_json::Value;

use crate::{branches::Reached, comparable, matching};

/// The number of differences that are printed in full; further ones are only counted.
const SHOWN: usize = 5;

type Lines = io::Lines<BufReader<File>>;

/// Compares the answers line by line, and counts cases by mode and by branch.
///
/// Both answers must have every field of the other. Returns true if none differ and every branch
/// was reached.
pub(crate) fn compare(
    cases: Lines,
    mut want: Lines,
    mut got: Lines,
) -> Result<bool, Box<dyn Error>> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut reached = Reached::new();
    let mut shown = 0;
    for case in cases {
        let case: Value = serde_json::from_str(&case?)?;
        let (want, got) = (answer(&mut want)?, comparable(answer(&mut got)?));
        reached.count(&case, &want);
        let want = comparable(want);
        let same = matching::matches(&want, &got) && matching::matches(&got, &want);
        let kind = case["kind"].as_str().unwrap_or_default();
        let mode = format!("{} {kind}", case["mode"].as_str().unwrap_or_default());
        let count = counts.entry(mode.trim_end().to_owned()).or_default();
        count.0 += 1;
        count.1 += usize::from(!same);
        if !same && shown < SHOWN {
            shown += 1;
            println!("DIFFERENT {case}\n  want {want}\n  got  {got}");
        }
    }
    Ok(summarize(&counts, &reached))
}

fn answer(lines: &mut Lines) -> Result<Value, Box<dyn Error>> {
    let line = lines.next().ok_or("fewer answers than cases")??;
    Ok(serde_json::from_str(&line)?)
}

fn summarize(counts: &BTreeMap<String, (usize, usize)>, reached: &Reached) -> bool {
    println!(
        "\nBranches of the HPA's algorithm, and how many cases (or steps of timelines) reach each:"
    );
    let branches = reached.table();
    for (name, count) in &branches {
        println!("{count:>8}  {name}{}", if *count == 0 { "  NEVER REACHED" } else { "" });
    }
    println!("\nAnswers compared with the HPA's:");
    for (mode, (cases, different)) in counts {
        println!("{cases:>8} {different:>6} different  {mode}");
    }
    let timelines = counts.get("timeline").map_or(0, |count| count.0);
    let cases = counts.values().map(|count| count.0).sum::<usize>() - timelines;
    let different: usize = counts.values().map(|count| count.1).sum();
    let missed = branches.iter().filter(|(_, count)| *count == 0).count();
    println!(
        "\nconformance: {cases} cases and {timelines} timelines, {different} different; \
         {} of {} branches reached",
        branches.len() - missed,
        branches.len()
    );
    different == 0 && missed == 0
}
