//! Reads a page line by line: Prometheus's parsers get each line as a page of its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Bytes, Sample, Verdict};

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Format {
    Text,
    OpenMetrics,
}

/// A source of the verdicts of Prometheus's parsers.
pub(crate) trait Oracle {
    fn ask(&mut self, format: Format, page: &[u8]) -> Verdict;
}

/// A known spelling that Prometheus and our reader treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Spelling {
    // These occur on pages that Prometheus accepts.
    CutOff,
    NoComma,
    NoBlank,
    OddBound,
    LeadingBlank,
    QuotesOverLines,
    Nul,
    BoundTwice,
    // These occur on pages that Prometheus rejects.
    CarriageReturn,
    Blanks,
    OtherFormat,
    Exemplar,
    Timestamp,
}

impl Format {
    pub(crate) const ALL: [Self; 2] = [Self::Text, Self::OpenMetrics];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::OpenMetrics => "openmetrics",
        }
    }

    fn other(self) -> Self {
        if self == Self::Text { Self::OpenMetrics } else { Self::Text }
    }
}

/// The content of a page, from each line by itself.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub samples: Vec<Sample>,
    /// Families with a malformed line.
    pub spoiled: BTreeSet<Bytes>,
    /// Known spellings, with the families of their lines; none for the page as a whole.
    pub spellings: BTreeMap<Spelling, BTreeSet<Bytes>>,
}

/// The content of a line.
enum Line {
    /// A blank line or a comment.
    Nothing,
    Sample(Sample),
    Malformed,
}

impl Lines {
    /// Reads a page of `format`. Malformed lines matter in the `wanted` families only.
    pub(crate) fn read(
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

/// Returns the line without blanks around it and without a carriage return at its end.
pub(crate) fn trim(line: &[u8]) -> &[u8] {
    trim_blanks(line.strip_suffix(b"\r").unwrap_or(line))
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Reads a line. It is a sample if one of Prometheus's parsers accepts it, or accepts the part that
/// our reader does not ignore. Two spellings that Prometheus accepts are malformed for us.
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
    let Some(sample) = sample_of(oracle, format, text, spellings) else { return Line::Malformed };
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

fn sample_of(
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
    // The text behind a value is ignored if it is a timestamp or an exemplar, valid or not.
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

/// Returns the sample of a line if Prometheus accepts the line as a page.
fn ask(oracle: &mut impl Oracle, format: Format, line: &[u8]) -> Option<Sample> {
    let end: &[u8] = if format == Format::Text { b"\n" } else { b"\n# EOF\n" };
    let verdict = oracle.ask(format, &[line, end].concat());
    // There is none if the line begins with NUL, which ends the page.
    verdict.accepted()?.first().cloned()
}

/// Iterates over the bytes of a line that are not between quotes, with their positions.
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

/// Returns true if a label follows another one without a comma.
fn has_no_comma(text: &[u8]) -> bool {
    // Of a pair of quotes, only the first is outside of them.
    unquoted(text).filter(|(_, byte)| *byte == b'"').any(|(start, _)| {
        let behind =
            closed(&text[start..]).map_or(&b""[..], |end| trim_start(&text[start + end..]));
        behind.first().is_some_and(|byte| !matches!(byte, b',' | b'}' | b'='))
    })
}

/// Returns true if a bare name is followed by anything but a blank or a brace.
fn has_no_blank(text: &[u8]) -> bool {
    let end = text.iter().position(|byte| !in_name(*byte)).unwrap_or(text.len());
    end > 0 && text.get(end).is_some_and(|byte| !matches!(byte, b' ' | b'\t' | b'{'))
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// Returns the names that the metric of a malformed line may have, the likeliest first.
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

/// Returns the quoted text that is neither a label's name nor its value, if the line is well-formed
/// up to there.
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

/// Returns the length of the quoted text that `text` begins with, quotes included; `None` if it is
/// not closed.
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
