//! The processes of pods, as the operating system lists them.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// Returns the process groups with a process that has this variable in its environment: one for
/// each pod. Some processes overwrite their environment with a title, so the group is found by the
/// others.
pub(crate) fn groups(name: &str, value: &Path) -> Result<HashSet<u32>> {
    let mark = format!("{name}={}\0", value.display());
    let is_marked = |process: &Path| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|part| part == mark.as_bytes())
    };
    let marked = all()?.into_iter().filter(|(process, _)| is_marked(process));
    Ok(marked.map(|(_, group)| group).collect())
}

/// Returns the processes of some groups.
pub(crate) fn members(groups: &HashSet<u32>) -> Result<Vec<PathBuf>> {
    let members = all()?.into_iter().filter(|(_, group)| groups.contains(group));
    Ok(members.map(|(process, _)| process).collect())
}

/// Returns the memory of the groups in megabytes. Shared memory is divided among the processes that
/// share it.
pub(crate) fn megabytes(groups: &HashSet<u32>) -> Result<u64> {
    let kilobytes: u64 = members(groups)?.iter().filter_map(|process| proportional(process)).sum();
    Ok(kilobytes / 1000)
}

/// Returns all running processes, with their groups.
fn all() -> Result<Vec<(PathBuf, u32)>> {
    let all = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    Ok(all.filter_map(|process| group(&process).map(|group| (process, group))).collect())
}

fn group(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The format is "pid (name) state parent group ...", where the name may contain any character.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let runs = !matches!(fields.next()?, "Z" | "X");
    fields.nth(1)?.parse().ok().filter(|_| runs)
}

fn proportional(process: &Path) -> Option<u64> {
    let rollup = fs::read_to_string(process.join("smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
