//! One line of the text format.

use std::hash::{DefaultHasher, Hasher};

use memchr::{memchr, memchr3};

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
    /// The line up to the value: what the series is called, as it is spelled.
    pub(super) series: &'p [u8],
    pub(super) value: f64,
    pub(super) labels: Labels<'p>,
}

/// The inside of a pair of braces, from the next item on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels<'p>(&'p [u8]);

#[derive(Debug)]
enum Item<'p> {
    /// The name of a metric, quoted because it has other characters than the old format allows.
    Metric,
    Label(Text<'p>, Text<'p>),
}

type Parsed<T> = Result<T, &'static str>;

/// Without blanks around it, nor a carriage return at its end.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    line.trim_ascii()
}

/// The name of the metric that a line is about, if it begins as a sample does.
pub(super) fn name_of(line: &[u8]) -> Option<Text<'_>> {
    match line.first()? {
        b'{' => quoted(line[1..].trim_ascii_start()).ok().map(|(name, _)| name),
        byte if starts_name(*byte) || *byte == b':' => {
            let end = memchr3(b'{', b' ', b'\t', line).unwrap_or(line.len());
            Some(Text::bare(&line[..end]))
        }
        _ => None,
    }
}

/// Whether a line that nobody wants may be a sample. A line with a bare name is only glanced at: a number
/// comes after the name, or there are labels, and the line ends as a number does.
pub(super) fn looks_like_sample(line: &[u8], name: Text<'_>) -> bool {
    if line[0] == b'{' {
        return Sample::parse(line).is_ok();
    }
    let rest = line[name.raw.len()..].trim_ascii_start();
    match rest.first() {
        Some(b'{') => rest.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.'),
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => true,
        Some(_) => number(word(rest).0).is_some(),
        None => false,
    }
}

impl<'p> Sample<'p> {
    /// Takes `line` apart; it has no blanks around it.
    pub(super) fn parse(line: &'p [u8]) -> Parsed<Self> {
        let bare = line.iter().take_while(|byte| continues_name(**byte) || **byte == b':').count();
        let rest = line[bare..].trim_ascii_start();
        let (labels, rest) = match rest.strip_prefix(b"{") {
            Some(inside) => (Labels(inside), after_labels(inside, bare > 0)?),
            None if bare == 0 => return Err("it does not begin with a name"),
            None if rest.len() == line.len() - bare && !rest.is_empty() => {
                return Err("a character in the name that only a quoted name may have");
            }
            None => (Labels(b"}"), rest),
        };
        let series = line[..line.len() - rest.len()].trim_ascii_end();
        let (value, rest) = word(rest.trim_ascii_start());
        let value = match value {
            b"" => return Err("it has no value"),
            text => number(text).ok_or("its value is not a number")?,
        };
        let (timestamp, rest) = word(rest);
        // An exemplar is for people and tracers; what is behind its sign is not looked at.
        let exemplar = |text: &[u8]| text.is_empty() || text[0] == b'#';
        if !exemplar(timestamp) && (number(timestamp).is_none() || !exemplar(rest)) {
            return Err("something else than a timestamp is behind its value");
        }
        Ok(Self { series, value, labels })
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

    fn hash(&self, except: &dyn Fn(&[u8]) -> bool, hasher: &mut DefaultHasher) {
        let mut labels = *self;
        while let Ok(Some(item)) = labels.next() {
            if let Item::Label(name, value) = item
                && !except(name.raw)
            {
                hasher.write(name.raw);
                hasher.write(b"\xff");
                hasher.write(value.raw);
                hasher.write(b"\xff");
            }
        }
    }
}

impl<'p> Labels<'p> {
    /// The next item; `None` at the closing brace, behind which `self` is then.
    fn next(&mut self) -> Parsed<Option<Item<'p>>> {
        let text = self.0.trim_ascii_start();
        if let Some(rest) = text.strip_prefix(b"}") {
            self.0 = rest;
            return Ok(None);
        }
        let (name, rest) = if text.starts_with(b"\"") { quoted(text)? } else { bare_label(text)? };
        let rest = rest.trim_ascii_start();
        let (item, rest) = match rest.strip_prefix(b"=") {
            Some(rest) => {
                let (value, rest) = quoted(rest.trim_ascii_start())?;
                (Item::Label(name, value), rest)
            }
            None if text.starts_with(b"\"") => (Item::Metric, rest),
            None => return Err("a label has no value"),
        };
        let rest = rest.trim_ascii_start();
        self.0 = match rest.first() {
            Some(b',') => &rest[1..],
            Some(b'}') => rest,
            _ => return Err("a comma or the closing brace is missing"),
        };
        Ok(Some(item))
    }

    /// The value of a label; of the first, if there are two. Only for labels that have been found sound.
    fn find(self, wanted: &str) -> Option<Text<'p>> {
        let mut labels = self;
        while let Ok(Some(item)) = labels.next() {
            if let Item::Label(name, value) = item
                && name.is(wanted.as_bytes())
            {
                return Some(value);
            }
        }
        None
    }
}

/// What is behind the closing brace, if everything before it is sound.
fn after_labels(inside: &[u8], mut named: bool) -> Parsed<&[u8]> {
    let mut labels = Labels(inside);
    while let Some(item) = labels.next()? {
        match item {
            Item::Metric if named => return Err("it has two names"),
            Item::Label(..) if !named => return Err("it does not begin with a name"),
            _ => named = true,
        }
    }
    if named { Ok(labels.0) } else { Err("it does not begin with a name") }
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
        end +=
            memchr::memchr2(b'"', b'\\', &inside[end.min(inside.len())..]).ok_or("a quote is not closed")?;
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

/// The first word, and what is behind it and the blanks that follow.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let space = memchr(b' ', text).unwrap_or(text.len());
    let end = memchr(b'\t', &text[..space]).unwrap_or(space);
    (&text[..end], text[end..].trim_ascii_start())
}

/// A number as the format spells it: decimal, `NaN`, `+Inf`, `-Inf`.
fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn continues_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
