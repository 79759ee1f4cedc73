//! The commands in README and `docs` that need no cluster print what the pages say.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The comment in the line before a block that this test runs.
const MARK: &str =
    "<!-- run by crates/cli/tests/docs.rs: commands_in_the_docs_print_what_the_docs_say -->";

/// A command of a block, and the lines below it. The line `…` stands for any number of lines.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    page: String,
    command: String,
    output: Vec<String>,
}

#[test]
fn commands_in_the_docs_print_what_the_docs_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = Path::new(env!("CARGO_BIN_EXE_llm-autoscaler")).parent().unwrap();
    let path = env::join_paths(
        [folder.to_owned()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let mut count = 0;
    for page in pages(&root) {
        let name = page.strip_prefix(&root).unwrap().display().to_string();
        for example in examples(&name, &fs::read_to_string(&page).unwrap()) {
            let output = Command::new("sh")
                .args(["-c", &example.command])
                .current_dir(&root)
                .env("PATH", &path)
                .output()
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
            assert!(
                is_like(&lines, &example.output),
                "{}: {} prints now\n{printed}{errors}",
                example.page,
                example.command
            );
            count += 1;
        }
    }
    assert!(count >= 6, "only {count} commands were found");
}

/// docs/operations.md has a row for every flag of `run`, with its default and its variable. Those
/// of wake calls are in docs/targets.md, and those of the metrics APIs in docs/metrics-api.md.
#[test]
fn every_flag_of_run_is_in_the_docs() {
    let output = Command::new(env!("CARGO_BIN_EXE_llm-autoscaler"))
        .args(["run", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let operations = include_str!("../../../docs/operations.md");
    let targets = include_str!("../../../docs/targets.md");
    let metrics_api = include_str!("../../../docs/metrics-api.md");
    let keda = include_str!("../../../docs/keda.md");
    let mut count = 0;
    for entry in help.split("\n      --").skip(1) {
        let flag = entry.split([' ', '\n', '[']).next().unwrap().trim_end_matches('=');
        let page = match flag {
            _ if flag.starts_with("wake-") => targets,
            _ if flag.starts_with("metrics-api") => metrics_api,
            _ if flag.starts_with("external-scaler") => keda,
            _ => operations,
        };
        let name = format!("`--{flag}`");
        let first_cell =
            |line: &str| line.strip_prefix("| ")?.split_once(" | ").map(|it| it.0.to_owned());
        let is_its = |line: &&str| first_cell(line).is_some_and(|cell| cell.contains(&name));
        let row = page.lines().find(is_its).unwrap_or_else(|| panic!("no row for {name}"));
        if let Some(default) = bracketed(entry, "default: ") {
            assert!(row.contains(default), "{name} is {default} by default: {row}");
        }
        let usual = flag.to_uppercase().replace('-', "_");
        match bracketed(entry, "env: ").and_then(|variable| variable.split('=').next()) {
            Some(variable) if variable == usual => {}
            Some(variable) => {
                assert!(row.contains(&format!("(`{variable}`)")), "{variable}: {row}");
            }
            None => assert!(row.contains("(no variable)"), "{name} has no variable: {row}"),
        }
        count += 1;
    }
    assert!(count >= 15, "only {count} flags were found");
}

/// README has a row for each command, in the order of `--help`.
#[test]
fn every_command_is_in_the_readme() {
    let output = Command::new(env!("CARGO_BIN_EXE_llm-autoscaler")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let listed = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let commands = listed.lines().filter_map(|line| line.split_whitespace().next());
    let commands: Vec<&str> = commands.filter(|name| *name != "help").collect();
    let readme = include_str!("../../../README.md");
    let section = readme.split_once("\n## Commands\n").unwrap().1.split_once("\n## ").unwrap().0;
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows: Vec<&str> = rows.map(|(name, _)| name).collect();
    assert_eq!(rows, commands);
}

/// Returns the text after a word in brackets, such as `[default: 15]`.
fn bracketed<'a>(entry: &'a str, word: &str) -> Option<&'a str> {
    entry.split_once(&format!("[{word}"))?.1.split_once(']').map(|(text, _)| text)
}

#[test]
fn a_line_of_dots_stands_for_lines() {
    let table = [
        ("a b c", "a b c", true),
        ("a b c", "a … c", true),
        ("a b c", "…", true),
        ("a b c", "a …", true),
        ("a b c", "a b", false),
        ("a b c", "… b", false),
    ];
    for (printed, expected, is_so) in table {
        let expected: Vec<String> = expected.split(' ').map(str::to_owned).collect();
        let printed: Vec<&str> = printed.split(' ').collect();
        assert_eq!(is_like(&printed, &expected), is_so, "{printed:?} {expected:?}");
    }
}

/// Returns README and all pages of `docs`.
fn pages(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Returns the commands of the marked blocks of a page.
fn examples(page: &str, text: &str) -> Vec<Example> {
    let blocks = text.split(MARK).skip(1).map(|rest| {
        let rest = rest.trim_start().strip_prefix("```console\n");
        let block = rest.and_then(|rest| rest.split_once("```"));
        assert!(block.is_some(), "{page}: a block of console follows the comment");
        block.unwrap().0
    });
    let mut found: Vec<Example> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        if let Some(command) = line.strip_prefix("$ ") {
            let (page, command) = (page.to_owned(), command.to_owned());
            found.push(Example { page, command, output: Vec::new() });
        } else {
            found.last_mut().unwrap().output.push(line.trim_end().to_owned());
        }
    }
    found
}

/// Returns whether lines are those that are expected.
fn is_like(lines: &[&str], expected: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "…" => {
            (0..=lines.len()).any(|skipped| is_like(&lines[skipped..], rest))
        }
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, lines)| line == first && is_like(lines, rest))
        }
    }
}
