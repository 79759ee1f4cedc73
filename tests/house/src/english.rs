//! The English of comments, and the width of lines.

use std::{collections::BTreeSet, str::FromStr};

use proc_macro2::{TokenStream, TokenTree};

use crate::checkout::TextFile;

/// Words that make a riddle of a comment's beginning. "The same" makes one too.
const RIDDLES: [&str; 2] = ["what", "whether"];

/// Words for people, where a comment is about pods.
const PEOPLE: [&str; 8] =
    ["who", "whose", "whom", "whoever", "nobody", "somebody", "anybody", "everybody"];

/// The findings in the comments of one file.
#[derive(Clone, Debug, Default)]
pub struct Comments {
    /// The number of lines that are comments and nothing else. Code in them is not counted.
    pub lines: usize,
    /// Paragraphs that begin with What, Whether or The same.
    pub riddles: Vec<String>,
    /// Lines with a word for people.
    pub people: Vec<String>,
}

/// Reads the comments of a Rust file. A paragraph begins with a block of consecutive comment lines
/// of one kind, and again after each empty line and each heading in it.
pub fn comments(file: &TextFile) -> Comments {
    let hidden = inside_of_literals(&file.text);
    let mut found = Comments::default();
    let mut before: Option<&str> = None;
    let mut is_paragraph_start = true;
    let mut is_code = false;
    for (index, line) in file.text.lines().enumerate() {
        let comment = if hidden.contains(&(index + 1)) { None } else { comment(line) };
        let Some((kind, text)) = comment else {
            before = None;
            continue;
        };
        if before != Some(kind) {
            (is_paragraph_start, is_code) = (true, false);
        }
        before = Some(kind);
        let is_fence = text.trim_start().starts_with("```");
        is_code ^= is_fence;
        if is_code || is_fence {
            continue;
        }
        found.lines += 1;
        let text = text.trim();
        let hit = || format!("{}:{}: {text}", file.name, index + 1);
        let words = words(text);
        let is_heading = text.starts_with('#');
        if is_paragraph_start && !is_heading && is_riddle(&words) {
            found.riddles.push(hit());
        }
        if words.iter().any(|word| PEOPLE.contains(&word.as_str())) {
            found.people.push(hit());
        }
        is_paragraph_start = text.is_empty() || is_heading;
    }
    found
}

/// Returns the comment lines of a Rust file that are wider than `limit` columns. A URL takes no
/// columns. The width of code is rustfmt's, which breaks neither literals nor bodies of macros.
pub fn wide_rust_comments(file: &TextFile, limit: usize) -> Vec<String> {
    let lines = file.text.lines().enumerate().filter(|(_, line)| comment(line).is_some());
    let wide = lines.filter(|(_, line)| without_urls(line).chars().count() > limit);
    wide.map(|(index, line)| wide_line(file, index, line)).collect()
}

/// Returns the prose of a Markdown file that is wider than `limit` columns. Tables and fenced code
/// are no prose, and where a link leads takes no columns.
pub fn wide_prose_lines(file: &TextFile, limit: usize) -> Vec<String> {
    let mut is_code = false;
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let start = line.trim_start();
        let is_fence = start.starts_with("```") || start.starts_with("~~~");
        is_code ^= is_fence;
        let is_prose = !is_code && !is_fence && !start.starts_with('|');
        if is_prose && without_urls(&without_link_targets(line)).chars().count() > limit {
            found.push(wide_line(file, index, line));
        }
    }
    found
}

fn wide_line(file: &TextFile, index: usize, line: &str) -> String {
    format!("{}:{}: {} columns", file.name, index + 1, line.chars().count())
}

/// The marker and the text of a line that is a comment.
fn comment(line: &str) -> Option<(&'static str, &str)> {
    let line = line.trim_start();
    let marker = ["///", "//!", "//"].into_iter().find(|marker| line.starts_with(marker))?;
    Some((marker, &line[marker.len()..]))
}

fn words(text: &str) -> Vec<String> {
    let parts = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    parts.filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
}

fn is_riddle(words: &[String]) -> bool {
    match words {
        [first, second, ..] if first == "the" => second == "same",
        [first, ..] => RIDDLES.contains(&first.as_str()),
        [] => false,
    }
}

/// The numbers of lines that begin inside of a string or a comment of several lines.
fn inside_of_literals(text: &str) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    if let Ok(tokens) = TokenStream::from_str(text) {
        add_literals(tokens, &mut found);
    }
    found
}

fn add_literals(tokens: TokenStream, found: &mut BTreeSet<usize>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => add_literals(group.stream(), found),
            TokenTree::Literal(literal) => {
                let span = literal.span();
                found.extend(span.start().line + 1..=span.end().line);
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

fn without_urls(line: &str) -> String {
    let mut rest = line;
    let mut kept = String::new();
    while let Some(start) = ["https://", "http://"].iter().filter_map(|it| rest.find(it)).min() {
        kept.push_str(&rest[..start]);
        let url = &rest[start..];
        rest = url.find(char::is_whitespace).map_or("", |end| &url[end..]);
    }
    kept + rest
}

fn without_link_targets(line: &str) -> String {
    let mut rest = line;
    let mut kept = String::new();
    while let Some((before, link)) = rest.split_once("](") {
        kept.push_str(before);
        rest = link.split_once(')').map_or("", |(_, after)| after);
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::{Comments, comments, wide_prose_lines, wide_rust_comments};
    use crate::checkout::TextFile;

    fn file(text: &str) -> TextFile {
        TextFile { name: "f".to_owned(), text: text.to_owned() }
    }

    fn read(text: &str) -> Comments {
        comments(&file(text))
    }

    #[test]
    fn a_comment_that_begins_with_a_riddle_counts() {
        for text in ["/// What it is.", "// whether it is", "//! The same, twice.", "/// `What`"] {
            assert_eq!(read(text).riddles.len(), 1, "{text}");
        }
        for text in ["/// The pods.", "// Whatever it is.", "// Samewhat", "let what = 1;", "//"] {
            assert_eq!(read(text).riddles.len(), 0, "{text}");
        }
        assert_eq!(read("\n    /// What it is.").riddles, ["f:2: What it is."]);
    }

    #[test]
    fn a_block_begins_once_for_each_of_its_paragraphs() {
        assert_eq!(read("// A line.\n// What follows is no beginning.").riddles.len(), 0);
        assert_eq!(read("/// A line.\n///\n/// What follows is one.").riddles.len(), 1);
        assert_eq!(read("/// # Errors\n/// What fails.").riddles.len(), 1);
        assert_eq!(read("//! A line.\n/// What is of another kind.").riddles.len(), 1);
        assert_eq!(read("// A line.\nlet x = 1;\n// What is another block.").riddles.len(), 1);
    }

    #[test]
    fn words_for_people_count_once_a_line() {
        let found = read("// Nobody knows whose pod it is.\n// whole\n// A pod, who waits.");
        assert_eq!(found.people.len(), 2);
        assert_eq!(found.lines, 3);
    }

    #[test]
    fn code_in_comments_and_comments_in_strings_are_no_comments() {
        let found = read("/// ```text\n/// What\n/// ```\n/// Text.\nlet x = r\"\n// What\n\";");
        assert_eq!((found.lines, found.riddles.len()), (1, 0));
    }

    #[test]
    fn wide_lines_are_found_except_for_what_a_url_takes() {
        let wide = |text: &str| wide_rust_comments(&file(text), 20).len();
        assert_eq!(wide("let name = 12345678901;"), 0);
        assert_eq!(wide("let name = \"1234567890\";"), 0);
        assert_eq!(wide("// called \"1234567890\""), 1);
        assert_eq!(wide("// ätherisch, 20 wide"), 1);
        assert_eq!(wide("// ätherisch 20 wide"), 0);
        assert_eq!(wide("// https://example.org/a/long/way"), 0);
        assert_eq!(wide("// https://example.org/ and a very long text"), 1);
    }

    #[test]
    fn tables_code_and_links_are_no_prose() {
        let wide = |text: &str| wide_prose_lines(&file(text), 20).len();
        assert_eq!(wide("A line that is too long."), 1);
        assert_eq!(wide("| A row that is too long |"), 0);
        assert_eq!(wide("```\nA line that is too long.\n```\n"), 0);
        assert_eq!(wide("See [a page](docs/a-long-way.md)."), 0);
        assert_eq!(wide("See [a page that is long](docs.md)."), 1);
    }
}
