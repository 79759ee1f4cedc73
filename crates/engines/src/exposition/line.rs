//! A line of the text format.

use std::hash::{DefaultHasher, Hasher};

use super::{
    names::{bare_name, continues_name, in_name, starts_name},
    scan::first_of,
};
use crate::labels::{LabelSet, MOST_LABELS};

/// Text of a page: a bare name, or the text between two quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'p> {
    pub(super) raw: &'p [u8],
    /// True if it has backslashes that must be resolved.
    pub(super) escaped: bool,
}

/// A parsed sample.
#[derive(Debug)]
pub(super) struct Sample<'p> {
    pub(super) value: f64,
    pub(super) labels: Labels<'p>,
    /// A hash of the labels that does not depend on their order or spelling.
    pub(super) identity: u64,
}

/// The text between a pair of braces, from the next item on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels<'p>(&'p [u8]);

#[derive(Debug)]
enum Item<'p> {
    /// The quoted name of the metric, which has characters that a bare name may not have.
    Metric,
    Label(Label<'p>),
}

#[derive(Clone, Copy, Debug)]
struct Label<'p> {
    name: Text<'p>,
    value: Text<'p>,
    /// Both as on the page, from the name to the last quote.
    span: &'p [u8],
}

type Parsed<T> = Result<T, &'static str>;

/// Returns the line without blanks around it and without a carriage return at its end.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    if let [b'!'..=b'~', .., b'!'..=b'~'] = line {
        return line;
    }
    let mut line = after_blanks(line.strip_suffix(b"\r").unwrap_or(line));
    while let [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

/// Returns the name of a line's metric, if the line begins like a sample.
pub(super) fn name_of(line: &[u8]) -> Option<Text<'_>> {
    match line.strip_prefix(b"{") {
        Some(inside) => name_within(inside),
        None => bare_name(line).map(Text::bare),
    }
}

/// Returns the quoted name between the braces, wherever it is, even if the line is malformed behind
/// it.
fn name_within(inside: &[u8]) -> Option<Text<'_>> {
    let mut text = inside;
    loop {
        text = after_blanks(text);
        let (name, rest) = match text.first()? {
            b',' => {
                text = &text[1..];
                continue;
            }
            b'"' => quoted(text).ok()?,
            _ => bare_label(text).ok()?,
        };
        match after_blanks(rest).strip_prefix(b"=") {
            Some(rest) => text = quoted(after_blanks(rest)).ok()?.1,
            None => return text.starts_with(b"\"").then_some(name),
        }
    }
}

/// Returns the name that a line without labels begins with, if a character follows that no bare
/// name may have. Example: `a` of `a-1`, which has no blank before its value.
pub(super) fn name_without_blank<'p>(line: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let end = name.iter().position(|byte| !in_name(*byte))?;
    let has_labels = after_blanks(&line[name.len()..]).starts_with(b"{");
    (!has_labels).then(|| &line[..end])
}

/// Returns true if an unwanted line with a bare name may be a sample. It is only glanced at: a
/// number must follow the name, or labels must follow it and the line must end like a number.
#[inline]
pub(super) fn looks_like_sample(line: &[u8], name: &[u8]) -> bool {
    let rest = after_blanks(&line[name.len()..]);
    match rest.first() {
        Some(b'{') => ends_like_number(rest),
        Some(_) if !name.iter().all(|byte| in_name(*byte)) => false,
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => true,
        Some(_) => number(word(rest).0).is_some(),
        None => false,
    }
}

/// Returns true if the last character may be that of a number.
#[inline]
pub(super) fn ends_like_number(text: &[u8]) -> bool {
    text.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.')
}

impl<'p> Sample<'p> {
    /// Parses `line`, which has no blanks around it.
    pub(super) fn parse(line: &'p [u8]) -> Parsed<Self> {
        if !line.is_ascii() && std::str::from_utf8(line).is_err() {
            return Err("it is not UTF-8");
        }
        let bare = line.iter().position(|byte| !in_name(*byte)).unwrap_or(line.len());
        let rest = after_blanks(&line[bare..]);
        let (labels, (identity, rest)) = match rest.strip_prefix(b"{") {
            Some(inside) => (Labels(inside), after_labels(inside, bare > 0)?),
            None if bare == 0 => return Err("it does not begin with a name"),
            None if rest.len() == line.len() - bare && !rest.is_empty() => {
                return Err("its name has a character that is only allowed in quotes");
            }
            None => (Labels(b"}"), (0, rest)),
        };
        let (value, rest) = word(after_blanks(rest));
        let value = match value {
            b"" => return Err("it has no value"),
            text => number(text).ok_or("its value is not a number")?,
        };
        if !ends_sample(rest) {
            let (timestamp, rest) = word(rest);
            if !(number(timestamp).is_some_and(f64::is_finite) && ends_sample(rest)) {
                return Err("its value is followed by something that is not a timestamp");
            }
        }
        Ok(Self { value, labels, identity })
    }
}

/// Returns true at the end of a line, and at an exemplar, which is for tracers and is ignored.
fn ends_sample(text: &[u8]) -> bool {
    matches!(text.first(), None | Some(b'#'))
}

impl LabelSet for Labels<'_> {
    fn has(&self, name: &str, value: &str) -> bool {
        self.find(name).map_or(value.is_empty(), |text| text.is(value.as_bytes()))
    }

    fn number(&self, name: &str) -> Option<f64> {
        // No number has escapes.
        number(self.find(name)?.raw)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&[u8], u64)) {
        let mut labels = *self;
        while let Ok(Some(item)) = labels.next() {
            if let Item::Label(label) = item {
                visit(label.name.raw, label.identity());
            }
        }
    }
}

impl Label<'_> {
    /// Returns a hash of name and value, 0 for an empty value. The sum of the hashes identifies a
    /// set of labels.
    fn identity(&self) -> u64 {
        let Self { name, value, span } = *self;
        if value.raw.is_empty() {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        if span.len() == name.raw.len() + value.raw.len() + 3 && !value.escaped {
            hasher.write(span);
        } else {
            // Hashes the usual spelling of the span. A name with `=` has none, and gets a byte in
            // its place that is in no UTF-8 text, so that it cannot pass for another label.
            name.hash(&mut hasher);
            hasher.write(if name.raw.contains(&b'=') { b"\xff" } else { b"=\"" });
            value.hash(&mut hasher);
            hasher.write(b"\"");
        }
        hasher.finish()
    }
}

impl<'p> Labels<'p> {
    /// Returns the next item; `None` at the closing brace, after which `self` is the text behind
    /// it.
    fn next(&mut self) -> Parsed<Option<Item<'p>>> {
        let text = after_blanks(self.0);
        if let Some(rest) = text.strip_prefix(b"}") {
            self.0 = rest;
            return Ok(None);
        }
        let is_quoted = text.starts_with(b"\"");
        let (name, rest) = if is_quoted { quoted(text)? } else { bare_label(text)? };
        if is_quoted && name.raw.contains(&0) {
            return Err("a name has a NUL character");
        }
        let rest = after_blanks(rest);
        let (item, rest) = match rest.strip_prefix(b"=") {
            Some(_) if name.raw.is_empty() => return Err("a label has no name"),
            Some(rest) => {
                let (value, rest) = quoted(after_blanks(rest))?;
                (Item::Label(Label { name, value, span: &text[..text.len() - rest.len()] }), rest)
            }
            None if is_quoted => (Item::Metric, rest),
            None => return Err("a label has no value"),
        };
        let rest = after_blanks(rest);
        self.0 = match rest.first() {
            Some(b',') => &rest[1..],
            Some(b'}') => rest,
            _ => return Err("a label is not followed by a comma or a closing brace"),
        };
        Ok(Some(item))
    }

    /// Returns the value of a label. The labels must have been parsed before.
    fn find(self, wanted: &str) -> Option<Text<'p>> {
        let mut labels = self;
        while let Ok(Some(item)) = labels.next() {
            if let Item::Label(label) = item
                && label.name.is(wanted.as_bytes())
            {
                return Some(label.value);
            }
        }
        None
    }

    /// Returns all labels as text, in their order. They must have been parsed before.
    pub(super) fn all(self) -> Vec<(String, String)> {
        let mut labels = self;
        let mut all = Vec::new();
        while let Ok(Some(item)) = labels.next() {
            if let Item::Label(label) = item {
                all.push((label.name.to_text(), label.value.to_text()));
            }
        }
        all
    }

    /// Returns true if there is a label of this name among the first ones, which are well-formed.
    fn has_name(self, wanted: Text<'_>, first: usize) -> bool {
        let mut labels = self;
        let mut names = std::iter::from_fn(|| match labels.next().ok()?? {
            Item::Label(label) => Some(Some(label.name)),
            Item::Metric => Some(None),
        });
        names.by_ref().flatten().take(first).any(|name| name.is_same_as(wanted))
    }
}

/// Checks the labels up to the closing brace. Returns their identity, and the text behind the
/// brace.
fn after_labels(inside: &[u8], mut named: bool) -> Parsed<(u64, &[u8])> {
    const FEW: usize = 8;
    let mut labels = Labels(inside);
    let mut first = [Text::bare(b""); FEW];
    let (mut count, mut identity) = (0, 0u64);
    while let Some(item) = labels.next()? {
        match item {
            Item::Metric if named => return Err("it has two names"),
            Item::Metric => named = true,
            Item::Label(label) if label.name.is(b"__name__") => return Err("it has two names"),
            Item::Label(_) if count == MOST_LABELS => return Err("it has more than 64 labels"),
            Item::Label(label) => {
                let (name, known) = (label.name, &first[..count.min(FEW)]);
                if known.iter().any(|other| other.is_same_as(name))
                    || count >= FEW && Labels(inside).has_name(name, count)
                {
                    return Err("a label is repeated");
                }
                if count < FEW {
                    first[count] = name;
                }
                count += 1;
                identity = identity.wrapping_add(label.identity());
            }
        }
    }
    if named { Ok((identity, labels.0)) } else { Err("it has no name") }
}

fn bare_label(text: &[u8]) -> Parsed<(Text<'_>, &[u8])> {
    if !text.first().is_some_and(|byte| starts_name(*byte)) {
        return Err("a label has no name");
    }
    let end = text.iter().position(|byte| !continues_name(*byte)).unwrap_or(text.len());
    Ok((Text::bare(&text[..end]), &text[end..]))
}

/// Returns the quoted text that `text` begins with, and the text behind it.
fn quoted(text: &[u8]) -> Parsed<(Text<'_>, &[u8])> {
    let inside = text.strip_prefix(b"\"").ok_or("a label's value is not in quotes")?;
    let mut end = 0;
    let mut escaped = false;
    loop {
        end += first_of([b'"', b'\\'], &inside[end.min(inside.len())..])
            .ok_or("a closing quote is missing")?;
        if inside[end] == b'"' {
            return Ok((Text { raw: &inside[..end], escaped }, &inside[end + 1..]));
        }
        escaped = true;
        end += 2;
    }
}

impl<'p> Text<'p> {
    /// Returns the text with its backslashes resolved.
    pub(super) fn to_text(self) -> String {
        let text = String::from_utf8_lossy(self.raw);
        if !self.escaped {
            return text.into_owned();
        }
        let mut characters = text.chars();
        let mut resolved = String::new();
        while let Some(character) = characters.next() {
            resolved.extend(match character {
                '\\' => characters.next().map(|next| if next == 'n' { '\n' } else { next }),
                character => Some(character),
            });
        }
        resolved
    }

    pub(super) fn bare(raw: &'p [u8]) -> Self {
        Self { raw, escaped: false }
    }

    /// Returns true if it stands for `wanted`, escapes resolved.
    pub(super) fn is(self, wanted: &[u8]) -> bool {
        if self.escaped { self.unescaped().eq(wanted.iter().copied()) } else { self.raw == wanted }
    }

    /// Returns true if both stand for one text, escapes resolved.
    fn is_same_as(self, other: Text<'_>) -> bool {
        if self.escaped || other.escaped {
            self.unescaped().eq(other.unescaped())
        } else {
            self.raw == other.raw
        }
    }

    /// Feeds it to `hasher`, escapes resolved.
    fn hash(self, hasher: &mut DefaultHasher) {
        if self.escaped {
            self.unescaped().for_each(|byte| hasher.write(&[byte]));
        } else {
            hasher.write(self.raw);
        }
    }

    /// Resolves `\\`, `\"` and `\n`. A backslash before any other character stands for itself, as
    /// in Prometheus.
    fn unescaped(self) -> impl Iterator<Item = u8> {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            let (byte, length) = match rest {
                [b'\\', b'n', ..] => (b'\n', 2),
                [b'\\', byte @ (b'\\' | b'"'), ..] => (*byte, 2),
                [byte, ..] => (*byte, 1),
                [] => return None,
            };
            rest = &rest[length..];
            Some(byte)
        })
    }
}

/// Returns the text without leading blanks.
pub(super) fn after_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Splits off the first word and the blanks behind it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = first_of([b' ', b'\t'], text).unwrap_or(text.len());
    (&text[..end], after_blanks(&text[end..]))
}

/// Parses a number of the format: decimal, `NaN`, `+Inf`, `-Inf`. As in Prometheus, a NaN with a
/// sign and a number that overflows are rejected.
pub(crate) fn number(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let odd = if number.is_nan() {
        text[0].is_ascii_punctuation()
    } else {
        text.iter().any(u8::is_ascii_digit)
    };
    (number.is_finite() || !odd).then_some(number)
}
