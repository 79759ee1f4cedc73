//! The cases of a stream: one per line, one printed over several lines, or one array of them.

use std::io::{self, BufRead};

use serde::de::IgnoredAny;
use serde_json::Deserializer;

/// The text of one case.
pub(super) struct Item {
    /// The line on which it begins, counted from 1.
    pub(super) line: usize,
    pub(super) text: Vec<u8>,
}

/// Returns the cases of a stream, as they arrive.
pub(super) fn items(input: impl BufRead) -> impl Iterator<Item = io::Result<Item>> {
    let mut lines = Lines { input, number: 0, ready: Vec::new() };
    std::iter::from_fn(move || lines.next_item().transpose())
}

struct Lines<R> {
    input: R,
    number: usize,
    /// The rest of an array, last first.
    ready: Vec<Item>,
}

impl<R: BufRead> Lines<R> {
    fn next_item(&mut self) -> io::Result<Option<Item>> {
        if let Some(item) = self.ready.pop() {
            return Ok(Some(item));
        }
        while let Some(text) = self.line()? {
            let line = self.number;
            match text.trim_ascii() {
                b"" => {}
                // An object that is not closed on its first line is printed over several lines.
                b"{" => return self.object(line, text).map(Some),
                [b'[', ..] => return self.array(line, text),
                text => return Ok(Some(Item { line, text: text.to_vec() })),
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        if self.input.read_until(b'\n', &mut text)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(text))
    }

    /// Reads the rest of an object, up to the first line that begins with its closing brace.
    fn object(&mut self, line: usize, mut text: Vec<u8>) -> io::Result<Item> {
        while let Some(next) = self.line()? {
            let closes = next.starts_with(b"}");
            text.extend(next);
            if closes {
                break;
            }
        }
        Ok(Item { line, text })
    }

    /// Reads the rest of the stream as one array. From the first malformed element on, the rest is
    /// one item, and so one error.
    fn array(&mut self, line: usize, mut text: Vec<u8>) -> io::Result<Option<Item>> {
        self.input.read_to_end(&mut text)?;
        let line_of = |place: usize| line + text[..place].split(|byte| *byte == b'\n').count() - 1;
        let mut place = skip(&text, 0, b'[');
        while place < text.len() && text[place] != b']' {
            let mut values = Deserializer::from_slice(&text[place..]).into_iter::<IgnoredAny>();
            let is_value = values.next().is_some_and(|value| value.is_ok());
            let end = if is_value { place + values.byte_offset() } else { text.len() };
            self.ready.push(Item { line: line_of(place), text: text[place..end].to_vec() });
            place = skip(&text, end, b',');
        }
        self.ready.reverse();
        Ok(self.ready.pop())
    }
}

/// Returns the next place after white space, an optional `mark`, and white space.
fn skip(text: &[u8], place: usize, mark: u8) -> usize {
    let blank =
        |place: usize| text[place..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let place = place + blank(place);
    let place = if text.get(place) == Some(&mark) { place + 1 } else { place };
    place + blank(place)
}
