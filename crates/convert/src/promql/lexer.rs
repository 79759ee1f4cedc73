//! The words of PromQL.

/// A word of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Number(f64),
    /// Seconds.
    Duration(u32),
    Mark(&'static str),
}

const MARKS: [&str; 24] = [
    "=~", "!~", "!=", "==", ">=", "<=", "=", "(", ")", "{", "}", "[", "]", ",", "+", "-", "*", "/",
    "%", "^", ":", ">", "<", "@",
];

/// Returns the words of an expression; `None` if a part of it is none.
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    let (mut rest, mut found) = (text.trim_start(), Vec::new());
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '#' => return None,
            '"' | '\'' | '`' => string(rest, first)?,
            c if c.is_ascii_digit() => number(rest)?,
            c if is_name_start(c) => name(rest),
            _ => MARKS
                .iter()
                .find(|mark| rest.starts_with(**mark))
                .map(|mark| (Token::Mark(mark), mark.len()))?,
        };
        found.push(token);
        rest = rest.get(length..)?.trim_start();
    }
    Some(found)
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

fn name(rest: &str) -> (Token, usize) {
    let is_inner = |c: char| is_name_start(c) || c.is_ascii_digit();
    let end = rest.find(|c| !is_inner(c)).unwrap_or(rest.len());
    (Token::Name(rest[..end].to_owned()), end)
}

fn string(rest: &str, quote: char) -> Option<(Token, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((Token::Text(text), at + c.len_utf8())),
            '\\' if quote != '`' => text.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                c @ ('\\' | '"' | '\'') => c,
                _ => return None,
            }),
            c => text.push(c),
        }
    }
    None
}

fn number(rest: &str) -> Option<(Token, usize)> {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
    let text = &rest[..end];
    if let Ok(number) = text.parse() {
        return Some((Token::Number(number), end));
    }
    Some((Token::Duration(seconds(text)?), end))
}

/// Returns a duration such as `1m30s` in whole seconds.
pub(crate) fn seconds(text: &str) -> Option<u32> {
    let (mut rest, mut sum) = (text, 0u32);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (count, after) = (rest[..digits].parse::<u32>().ok()?, &rest[digits..]);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let factor = match &after[..unit] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        sum = sum.checked_add(count.checked_mul(factor)?)?;
        rest = &after[unit..];
    }
    Some(sum)
}
