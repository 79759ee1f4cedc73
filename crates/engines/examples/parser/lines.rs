//! A page line by line, each shown to Prometheus's parsers by itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Bytes, Sample, Verdict};

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    Text,
    OpenMetrics,
}

/// Something that knows what Prometheus's parsers say.
pub trait Oracle {
    fn ask(&mut self, format: Format, page: &[u8]) -> Verdict;
}

/// A spelling for which there is a word, because Prometheus and our reader do not take it alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Spelling {
    // Prometheus takes the page.
    CutOff,
    NoComma,
    NoBlank,
    OddBound,
    LeadingBlank,
    QuotesOverLines,
    Nul,
    BoundTwice,
    // Prometheus refuses the page.
    CarriageReturn,
    Blanks,
    OtherFormat,
    Exemplar,
    Timestamp,
}

impl Format {
    pub const ALL: [Self; 2] = [Self::Text, Self::OpenMetrics];

    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::OpenMetrics => "openmetrics",
        }
    }

    fn other(self) -> Self {
        if self == Self::Text { Self::OpenMetrics } else { Self::Text }
    }
}

/// What the lines of a page say, each by itself.
#[derive(Debug, Default)]
pub struct Lines {
    pub samples: Vec<Sample>,
    /// Families with a malformed line.
    pub spoiled: BTreeSet<Bytes>,
    /// Odd spellings, with the families about which they are; none for the page as a whole.
    pub spellings: BTreeMap<Spelling, BTreeSet<Bytes>>,
}

/// What a line says.
enum Line {
    /// It is blank or a comment.
    Nothing,
    Sample(Sample),
    Malformed,
}

impl Lines {
    /// Reads a page of `format`. `wanted` are the families whose malformed lines matter.
    pub fn read(
        oracle: &mut impl Oracle,
        format: Format,
        page: &[u8],
        wanted: &BTreeSet<Bytes>,
    ) -> Self {
        let mut lines = Self::default();
        for line in page.split(|byte| *byte == b'\n') {
            let mut spellings = Vec::new();
            match read(oracle, format, line, &mut spellings) {
                Line::Nothing => {}
                Line::Sample(sample) => {
                    lines.note(&spellings, &sample.name);
                    lines.samples.push(sample);
                }
                Line::Malformed => {
                    let names = names_of(trim(line));
                    if let Some(family) = names.into_iter().find(|name| wanted.contains(name)) {
                        lines.note(&spellings, &family);
                        lines.spoiled.insert(family);
                    }
                }
            }
        }
        lines
    }

    fn note(&mut self, spellings: &[Spelling], family: &[u8]) {
        for spelling in spellings {
            self.spellings.entry(*spelling).or_default().insert(family.to_owned());
        }
    }
}

/// Without blanks around it, nor a carriage return at its end.
pub fn trim(line: &[u8]) -> &[u8] {
    trim_blanks(line.strip_suffix(b"\r").unwrap_or(line))
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// What a line says: a sample if one of Prometheus's parsers takes it, or takes what our reader looks at. Those
/// spellings that only leniency takes are malformed.
fn read(
    oracle: &mut impl Oracle,
    format: Format,
    line: &[u8],
    spellings: &mut Vec<Spelling>,
) -> Line {
    let text = trim(line);
    if text.is_empty() || text[0] == b'#' {
        return Line::Nothing;
    }
    if line.ends_with(b"\r") {
        spellings.push(Spelling::CarriageReturn);
    }
    if format == Format::Text && text[0] != line[0] {
        spellings.push(Spelling::LeadingBlank);
    }
    if format == Format::OpenMetrics && text.len() < line.len() - usize::from(line.ends_with(b"\r"))
    {
        spellings.push(Spelling::Blanks);
    }
    if std::str::from_utf8(text).is_err() {
        return Line::Malformed;
    }
    let Some(sample) = take(oracle, format, text, spellings) else { return Line::Malformed };
    if has_no_comma(without_exemplar(text)) {
        spellings.push(Spelling::NoComma);
        return Line::Malformed;
    }
    if has_no_blank(text) {
        spellings.push(Spelling::NoBlank);
        return Line::Malformed;
    }
    if sample.label(b"le").iter().any(|byte| b"xX_".contains(byte)) {
        spellings.push(Spelling::OddBound);
    }
    Line::Sample(sample)
}

fn take(
    oracle: &mut impl Oracle,
    format: Format,
    text: &[u8],
    spellings: &mut Vec<Spelling>,
) -> Option<Sample> {
    if let Some(sample) = ask(oracle, format, text) {
        return Some(sample);
    }
    if let Some(sample) = ask(oracle, format.other(), text) {
        spellings.push(Spelling::OtherFormat);
        return Some(sample);
    }
    // What is behind a value is looked at only so far as to tell a timestamp and an exemplar from something else.
    let mut either =
        |text: &[u8]| Format::ALL.into_iter().find_map(|format| ask(oracle, format, text));
    let rest = without_exemplar(text);
    if rest.len() < text.len() {
        spellings.push(Spelling::Exemplar);
    }
    if let Some(sample) = either(rest) {
        return Some(sample);
    }
    let blank = rest.iter().rposition(|byte| matches!(byte, b' ' | b'\t'))?;
    let (value, time) = (trim_blanks(&rest[..blank]), &rest[blank + 1..]);
    crate::model::number(time).filter(|time| time.is_finite())?;
    spellings.push(Spelling::Timestamp);
    either(value).filter(|sample| !sample.is_timed)
}

/// The sample of a line, if Prometheus takes it as a page.
fn ask(oracle: &mut impl Oracle, format: Format, line: &[u8]) -> Option<Sample> {
    let end: &[u8] = if format == Format::Text { b"\n" } else { b"\n# EOF\n" };
    let verdict = oracle.ask(format, &[line, end].concat());
    // A line that begins with NUL ends the page, and says nothing.
    verdict.accepted()?.first().cloned()
}

/// The bytes of a line that are not within quotes, with their places.
fn unquoted(text: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    let (mut quoted, mut escaped) = (false, false);
    text.iter().copied().enumerate().filter(move |(_, byte)| {
        let was_quoted = quoted;
        match byte {
            b'"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && *byte == b'\\' && !escaped;
        !was_quoted
    })
}

fn without_exemplar(text: &[u8]) -> &[u8] {
    let sign = unquoted(text)
        .find(|(at, byte)| *byte == b'#' && *at > 0 && matches!(text[at - 1], b' ' | b'\t'));
    trim_blanks(sign.map_or(text, |(at, _)| &text[..at]))
}

/// Whether a label follows on another without a comma.
fn has_no_comma(text: &[u8]) -> bool {
    // Of a pair of quotes only the first is outside of them.
    unquoted(text).filter(|(_, byte)| *byte == b'"').any(|(start, _)| {
        let behind =
            closed(&text[start..]).map_or(&b""[..], |end| trim_start(&text[start + end..]));
        behind.first().is_some_and(|byte| !matches!(byte, b',' | b'}' | b'='))
    })
}

/// Whether something other than a blank or a brace stands right behind a bare name.
fn has_no_blank(text: &[u8]) -> bool {
    let end = text.iter().position(|byte| !in_name(*byte)).unwrap_or(text.len());
    end > 0 && text.get(end).is_some_and(|byte| !matches!(byte, b' ' | b'\t' | b'{'))
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// The names that a malformed line may be about, the likeliest first.
fn names_of(text: &[u8]) -> Vec<Bytes> {
    match text.first() {
        Some(b'{') => name_within(&text[1..]).into_iter().collect(),
        Some(byte) if in_name(*byte) && !byte.is_ascii_digit() => {
            let end = text
                .iter()
                .position(|byte| matches!(byte, b'{' | b' ' | b'\t'))
                .unwrap_or(text.len());
            let bare = text.iter().position(|byte| !in_name(*byte)).unwrap_or(text.len());
            let has_labels = trim_blanks(&text[end..]).starts_with(b"{");
            let names = [&text[..end], &text[..bare]];
            names[..if has_labels { 1 } else { 2 }].iter().map(|name| name.to_vec()).collect()
        }
        _ => Vec::new(),
    }
}

/// The text in quotes that is neither a label's name nor its value, as far as the line can be followed.
fn name_within(inside: &[u8]) -> Option<Bytes> {
    let mut text = inside;
    loop {
        while let [b' ' | b'\t' | b',', rest @ ..] = text {
            text = rest;
        }
        let is_quoted = text.starts_with(b"\"");
        let end = if is_quoted {
            closed(text)?
        } else {
            text.iter().position(|byte| !in_label(*byte))?
        };
        if !is_quoted && (end == 0 || text[0].is_ascii_digit()) {
            return None;
        }
        let (name, rest) = text.split_at(end);
        let Some(value) = trim_start(rest).strip_prefix(b"=").map(trim_start) else {
            return is_quoted.then(|| unescaped(&name[1..end - 1]));
        };
        text =
            value.starts_with(b"\"").then(|| closed(value)).flatten().map(|end| &value[end..])?;
    }
}

fn in_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Where the text in quotes with which `text` begins has ended, if it ends.
fn closed(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    while *text.get(at)? != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    Some(at + 1)
}

fn unescaped(text: &[u8]) -> Bytes {
    let mut out = Bytes::new();
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        match (byte, rest.as_slice().first()) {
            (b'\\', Some(b'n')) => out.push(b'\n'),
            (b'\\', Some(escaped @ (b'\\' | b'"'))) => out.push(*escaped),
            _ => {
                out.push(*byte);
                continue;
            }
        }
        rest.next();
    }
    out
}
