//! One line of the text format.

use std::hash::{DefaultHasher, Hasher};

use memchr::{memchr2, memchr3};

use super::tally;

/// Text of a page: a bare name, or what stands between quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'p> {
    pub(super) raw: &'p [u8],
    /// It has backslashes to be resolved.
    pub(super) escaped: bool,
}

/// A sample, taken apart and found sound.
#[derive(Debug)]
pub(super) struct Sample<'p> {
    pub(super) value: f64,
    pub(super) labels: Labels<'p>,
    /// A hash of the labels, the same for the same labels however they are spelled.
    pub(super) identity: u64,
}

/// The inside of a pair of braces, from the next item on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels<'p>(&'p [u8]);

#[derive(Debug)]
enum Item<'p> {
    /// The name of a metric, quoted because it has other characters than the old format allows.
    Metric,
    Label(Label<'p>),
}

#[derive(Clone, Copy, Debug)]
struct Label<'p> {
    name: Text<'p>,
    value: Text<'p>,
    /// Both as they are spelled, from the name to the last quote.
    span: &'p [u8],
}

type Parsed<T> = Result<T, &'static str>;

/// Without blanks around it, nor a carriage return at its end.
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

/// The name of the metric that a line is about, if it begins as a sample does.
#[inline]
pub(super) fn name_of(line: &[u8]) -> Option<Text<'_>> {
    match line.first()? {
        b'{' => name_within(&line[1..]),
        byte if starts_name(*byte) || *byte == b':' => {
            let end = memchr3(b'{', b' ', b'\t', line).unwrap_or(line.len());
            Some(Text::bare(&line[..end]))
        }
        _ => None,
    }
}

/// The name that stands among the labels, wherever; of a line that is malformed behind it, too.
#[inline(never)] // few lines are spelled so, and all pass by here
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

/// The name that a line without labels begins with, if a character stands right behind it that no bare name may have:
/// `a-1` has no blank before its value.
pub(super) fn beginning_of<'p>(line: &'p [u8], name: Text<'_>) -> Option<Text<'p>> {
    let end = name.raw.iter().position(|byte| !in_name(*byte))?;
    let has_labels = after_blanks(&line[name.raw.len()..]).starts_with(b"{");
    (!has_labels).then(|| Text::bare(&line[..end]))
}

/// Whether a line that nobody wants may be a sample. A line with a bare name is only glanced at: a number
/// comes after the name, or there are labels, and the line ends as a number does.
#[inline]
pub(super) fn looks_like_sample(line: &[u8], name: Text<'_>) -> bool {
    if line[0] == b'{' {
        return Sample::parse(line).is_ok();
    }
    let rest = after_blanks(&line[name.raw.len()..]);
    match rest.first() {
        Some(b'{') => rest.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.'),
        Some(_) if !name.raw.iter().all(|byte| in_name(*byte)) => false,
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => true,
        Some(_) => number(word(rest).0).is_some(),
        None => false,
    }
}

impl<'p> Sample<'p> {
    /// Takes `line` apart; it has no blanks around it.
    pub(super) fn parse(line: &'p [u8]) -> Parsed<Self> {
        if !line.is_ascii() && std::str::from_utf8(line).is_err() {
            return Err("it is not UTF-8");
        }
        let bare = line.iter().take_while(|byte| in_name(**byte)).count();
        let rest = after_blanks(&line[bare..]);
        let (labels, (identity, rest)) = match rest.strip_prefix(b"{") {
            Some(inside) => (Labels(inside), after_labels(inside, bare > 0)?),
            None if bare == 0 => return Err("it does not begin with a name"),
            None if rest.len() == line.len() - bare && !rest.is_empty() => {
                return Err("a character in the name that only a quoted name may have");
            }
            None => (Labels(b"}"), (0, rest)),
        };
        let (value, rest) = word(after_blanks(rest));
        let value = match value {
            b"" => return Err("it has no value"),
            text => number(text).ok_or("its value is not a number")?,
        };
        let (timestamp, rest) = word(rest);
        // An exemplar is for people and tracers; what is behind its sign is not looked at.
        let exemplar = |text: &[u8]| text.is_empty() || text[0] == b'#';
        let is_time = |text: &[u8]| number(text).is_some_and(f64::is_finite);
        if !(exemplar(timestamp) || is_time(timestamp) && exemplar(rest)) {
            return Err("something else than a timestamp is behind its value");
        }
        Ok(Self { value, labels, identity })
    }
}

impl tally::Labels for Labels<'_> {
    fn has(&self, name: &str, value: &str) -> bool {
        self.find(name).map_or(value.is_empty(), |text| text.is(value.as_bytes()))
    }

    fn number(&self, name: &str) -> Option<f64> {
        // A number needs no escapes.
        number(self.find(name)?.raw)
    }

    fn each(&self, see: &mut dyn FnMut(&[u8], u64)) {
        let mut labels = *self;
        while let Ok(Some(item)) = labels.next() {
            if let Item::Label(label) = item {
                see(label.name.raw, label.identity());
            }
        }
    }
}

impl Label<'_> {
    /// A hash of name and value, whose sum is that of a set of labels. Nothing for a label that is empty.
    fn identity(&self) -> u64 {
        let Self { name, value, span } = *self;
        if value.raw.is_empty() {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        if span.len() == name.raw.len() + value.raw.len() + 3 && !value.escaped {
            hasher.write(span);
        } else {
            // What the span would be if it were spelled in the usual way. A name that could not be is told apart by a
            // byte that is in no text.
            name.hash(&mut hasher);
            hasher.write(if name.raw.contains(&b'=') { b"\xff" } else { b"=\"" });
            value.hash(&mut hasher);
            hasher.write(b"\"");
        }
        hasher.finish()
    }
}

impl<'p> Labels<'p> {
    /// The next item; `None` at the closing brace, behind which `self` is then.
    fn next(&mut self) -> Parsed<Option<Item<'p>>> {
        let text = after_blanks(self.0);
        if let Some(rest) = text.strip_prefix(b"}") {
            self.0 = rest;
            return Ok(None);
        }
        let is_quoted = text.starts_with(b"\"");
        let (name, rest) = if is_quoted { quoted(text)? } else { bare_label(text)? };
        if is_quoted && name.raw.contains(&0) {
            return Err("there is a NUL in a name");
        }
        let rest = after_blanks(rest);
        let (item, rest) = match rest.strip_prefix(b"=") {
            Some(_) if name.raw.is_empty() => return Err("the name of a label is missing"),
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
            _ => return Err("a comma or the closing brace is missing"),
        };
        Ok(Some(item))
    }

    /// The value of a label. Only for labels that have been found sound.
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

    /// Whether there is a label of this name, as far as they are sound.
    fn has_name(self, wanted: Text<'_>) -> bool {
        let mut labels = self;
        while let Ok(Some(item)) = labels.next() {
            if matches!(item, Item::Label(label) if label.name.is_same_as(wanted)) {
                return true;
            }
        }
        false
    }
}

/// The identity of the labels and what is behind the closing brace, if everything before it is sound.
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
            Item::Label(label) => {
                let name = label.name;
                let known = &first[..count.min(FEW)];
                if known.iter().any(|other| other.is_same_as(name))
                    || count >= FEW && labels.has_name(name)
                {
                    return Err("a label is given twice");
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
        return Err("the name of a label is missing");
    }
    let end = text.iter().take_while(|byte| continues_name(**byte)).count();
    Ok((Text::bare(&text[..end]), &text[end..]))
}

/// The text between quotes that `text` begins with, and what is behind them.
fn quoted(text: &[u8]) -> Parsed<(Text<'_>, &[u8])> {
    let inside = text.strip_prefix(b"\"").ok_or("a quote is missing")?;
    let mut end = 0;
    let mut escaped = false;
    loop {
        end += memchr2(b'"', b'\\', &inside[end.min(inside.len())..])
            .ok_or("a quote is not closed")?;
        if inside[end] == b'"' {
            return Ok((Text { raw: &inside[..end], escaped }, &inside[end + 1..]));
        }
        escaped = true;
        end += 2;
    }
}

impl<'p> Text<'p> {
    pub(super) fn bare(raw: &'p [u8]) -> Self {
        Self { raw, escaped: false }
    }

    /// Whether it says `wanted`.
    pub(super) fn is(self, wanted: &[u8]) -> bool {
        if self.escaped { self.unescaped().eq(wanted.iter().copied()) } else { self.raw == wanted }
    }

    /// Whether both say the same.
    fn is_same_as(self, other: Text<'_>) -> bool {
        if self.escaped || other.escaped {
            self.unescaped().eq(other.unescaped())
        } else {
            self.raw == other.raw
        }
    }

    /// Feeds what it says to `hasher`.
    fn hash(self, hasher: &mut DefaultHasher) {
        if self.escaped {
            self.unescaped().for_each(|byte| hasher.write(&[byte]));
        } else {
            hasher.write(self.raw);
        }
    }

    /// `\\`, `\"` and `\n` resolved; a backslash before anything else stands for itself, as Prometheus has it.
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

/// Without the blanks that it begins with.
fn after_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// The first word, and what is behind it and the blanks that follow.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr2(b' ', b'\t', text).unwrap_or(text.len());
    (&text[..end], after_blanks(&text[end..]))
}

/// A number as the format spells it: decimal, `NaN`, `+Inf`, `-Inf`. As for Prometheus, NaN has no sign, and what is too
/// large for a float is no number.
pub(crate) fn number(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let odd = if number.is_nan() {
        text[0].is_ascii_punctuation()
    } else {
        text.iter().any(u8::is_ascii_digit)
    };
    (number.is_finite() || !odd).then_some(number)
}

fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn continues_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn in_name(byte: u8) -> bool {
    continues_name(byte) || byte == b':'
}
