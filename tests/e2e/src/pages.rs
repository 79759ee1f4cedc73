//! Fenced blocks of README and the pages in `docs`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use llm_autoscaler_testbed::repository;

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// Its page and line, `docs/roles.md:7`.
    pub(crate) place: String,
    /// The words after the language.
    pub(crate) marks: Vec<String>,
    pub(crate) text: String,
}

/// Returns the blocks of a language in all pages.
pub(crate) fn blocks(language: &str) -> Result<Vec<Block>> {
    let root = repository();
    let mut files = vec![root.join("README.md")];
    list(&root.join("docs"), &mut files)?;
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let page = file.strip_prefix(&root)?.display().to_string();
        let text = fs::read_to_string(&file).with_context(|| format!("reading {page}"))?;
        found.extend(blocks_of(&page, &text, language));
    }
    Ok(found)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "md") {
            files.push(path);
        }
    }
    Ok(())
}

/// Returns the blocks of one page. The text of a block in a list loses the indent of its fence.
fn blocks_of(page: &str, text: &str, language: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(Block, bool, usize)> = None;
    for (index, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(info)) => {
                let mut words = info.split_whitespace().map(str::to_owned);
                let is_wanted = words.next().is_some_and(|word| word == language);
                let place = format!("{page}:{}", index + 1);
                let block = Block { place, marks: words.collect(), text: String::new() };
                open = Some((block, is_wanted, indent));
            }
            (Some(_), Some(_)) => {
                let closed = open.take().filter(|(_, is_wanted, _)| *is_wanted);
                found.extend(closed.map(|(block, _, _)| block));
            }
            (Some((block, _, indent)), None) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}
