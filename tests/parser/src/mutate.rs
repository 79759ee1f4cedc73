//! Random damage and unusual spellings.

use crate::{model::Bytes, random::Random};

type Lines = Vec<Bytes>;

/// Changes to one line.
const LINE_CHANGES: [fn(&mut Random, &mut Bytes); 16] = [
    change_byte,
    change_byte,
    change_span,
    replace_value,
    replace_value,
    replace_value,
    append_tail,
    append_exemplar,
    insert_label,
    insert_label,
    insert_label,
    replace_text,
    quote_name,
    insert_blanks,
    insert_blanks,
    replace_comma,
];
/// Changes to the order or the number of lines.
const PAGE_CHANGES: [fn(&mut Random, &mut Lines); 7] = [
    remove_line,
    repeat_line,
    swap_lines,
    insert_comment,
    insert_strange_line,
    join_lines,
    split_line,
];

/// Returns the page of these lines, after up to `most` changes.
pub(crate) fn mutate(random: &mut Random, mut lines: Lines, most: usize) -> Bytes {
    for _ in 0..random.between(0, most) {
        if lines.is_empty() || random.chance(25) {
            random.pick(&PAGE_CHANGES)(random, &mut lines);
        } else {
            let line = random.below(lines.len());
            random.pick(&LINE_CHANGES)(random, &mut lines[line]);
        }
    }
    let end: &[u8] = if random.chance(3) { b"\r\n" } else { b"\n" };
    let mut page = lines.join(end);
    if !random.chance(5) {
        page.extend_from_slice(end);
    }
    if random.chance(2) {
        page.truncate(random.below(page.len() + 1));
    }
    page
}

/// Picks one of the texts that are separated by bars.
fn one_of<'t>(random: &mut Random, texts: &'t str) -> &'t str {
    let texts: Vec<_> = texts.split('|').collect();
    texts[random.below(texts.len())]
}

fn replace(random: &mut Random, line: &mut Bytes, start: usize, end: usize, by: &str) {
    line.splice(start..end, one_of(random, by).bytes());
}

fn change_byte(random: &mut Random, line: &mut Bytes) {
    const BYTES: &[u8] = b"{}\"\"\\\\==,,## \t\n\r\x00\x0c+-..eE_:aZ09N\xc3\xa9\xff";
    let at = random.below(line.len() + 1);
    let end = (at + random.below(2)).min(line.len());
    let put = random.chance(75).then(|| *random.pick(BYTES));
    line.splice(at..end, put);
}

fn change_span(random: &mut Random, line: &mut Bytes) {
    let (a, b) = (random.below(line.len() + 1), random.below(line.len() + 1));
    let span = line[a.min(b)..a.max(b)].to_vec();
    match random.below(3) {
        0 => drop(line.drain(a.min(b)..a.max(b))),
        1 => drop(line.splice(a..a, span)),
        _ => line.truncate(a),
    }
}

/// Returns the position of the value of an ordinary line.
fn value_of(line: &[u8]) -> Option<usize> {
    let blank = line.iter().rposition(|byte| *byte == b' ')?;
    (line[0] != b'#').then_some(blank + 1)
}

fn replace_value(random: &mut Random, line: &mut Bytes) {
    const SPELLINGS: &str = concat!(
        "NaN|nan|+NaN|-NaN|Inf|+Inf|-Inf|infinity|+INFINITY|1e400|-1e400|1e-400|0x10|0x1p4|1_000|1.|+.5|.|",
        "-|1e|1E+2|1e+|00012|-0|0.1e1|9007199254740993|1,5||1e308|17976931348623157e292|١|1.5.2|+-1|1e5|",
        "nano|--1|5f|3",
    );
    if let Some(start) = value_of(line) {
        // Sometimes the blank before the value is replaced too.
        let start = start - usize::from(random.chance(if line.contains(&b'{') { 4 } else { 40 }));
        replace(random, line, start, line.len(), SPELLINGS);
    }
}

fn append_tail(random: &mut Random, line: &mut Bytes) {
    const TAILS: &str = concat!(
        " 1395066363000| 1520879607.789| -5| +5| 1e3| NaN| +Inf| 99999999999999999999| 12 13| x|\t7|  8  |",
        " 0x1p4| 1_0|}| {|{",
    );
    replace(random, line, line.len(), line.len(), TAILS);
}

fn append_exemplar(random: &mut Random, line: &mut Bytes) {
    const EXEMPLARS: &str = concat!(
        " # {trace_id=\"x\"} 0.67| # {trace_id=\"x\"} 0.67 1520879607.789| 5 # {} 1| # {a=\"#\",b=\"}\"} 1|",
        " #| # x|# {} 1| # {a=\"b\"}| # {a=\"\\\"\"} NaN|\t# {} 1| # {} 1 2 3| # {\"a.b\"=\"c\"} 1| #{} 1",
    );
    replace(random, line, line.len(), line.len(), EXEMPLARS);
}

/// Picks a position for a label: behind a brace or a comma.
fn label_position(random: &mut Random, line: &[u8]) -> Option<usize> {
    let places: Vec<_> = (0..line.len()).filter(|at| matches!(line[*at], b'{' | b',')).collect();
    (!places.is_empty()).then(|| random.pick(&places) + 1)
}

fn insert_label(random: &mut Random, line: &mut Bytes) {
    const LABELS: &str = concat!(
        "a=\"b\",|a=\"\",|\"a.b\"=\"c\",|\"a\\\"b\"=\"c\",|__name__=\"x\",|engine=\"0\",|model_name=\"m\",|",
        "a=\"\\\\\\\"\\n\\z\",|a=\"{,}=# \",|a=\"\n\",|a=\"\u{0}\",|a=\"é\",|1=\"b\",|a=b,|a,|=\"b\",|",
        "\"x\",|\"x.y\",|,|\"\"=\"b\",|le=\"1\",|le=\"+Inf\",|a:b=\"c\",|a=\"b\" |a=\"b\"c=\"d\",|a='b',|}|",
        "{|a=\"\\\n\",|a=\"b\ny 5\nx\",|é=\"b\",|a = \"b\" , |a=\"x\\|a=\"x,|\"a\u{0}\"=\"b\",|",
        "l1=\"1\",l2=\"2\",l3=\"3\",l4=\"4\",l5=\"5\",l6=\"6\",l7=\"7\",l8=\"8\",l9=\"9\",",
    );
    if let Some(at) = label_position(random, line) {
        replace(random, line, at, at, LABELS);
    } else if let Some(value) = value_of(line) {
        const ALL: &str = "{}|{a=\"b\"}|{a=\"b\",}| {a=\"b\"}|{ }|{,}|{\"a\"}";
        replace(random, line, value - 1, value - 1, ALL);
    }
}

/// Replaces the value of a label, mostly of a bound.
fn replace_text(random: &mut Random, line: &mut Bytes) {
    const TEXTS: &str = "1|1.0|1e0|+Inf|Inf|inf|-Inf|NaN|1e400|0x1p4|0x10|-0|0||x| 1|0.50|\\\"|\\\\|\\n|\\z|5|10|+NaN|1_0";
    let place = |what: &[u8]| {
        line.windows(what.len()).position(|window| window == what).map(|at| at + what.len())
    };
    let start = place(b"le=\"").or_else(|| place(b"=\""));
    if let Some(start) = start
        && let Some(length) = line[start..].iter().position(|byte| *byte == b'"')
    {
        replace(random, line, start, start + length, TEXTS);
    }
}

/// Moves the name between the braces: before, among or behind the labels.
fn quote_name(random: &mut Random, line: &mut Bytes) {
    let Some(end) = line.iter().position(|byte| matches!(byte, b'{' | b' ')) else { return };
    if end == 0 || line[0] == b'#' {
        return;
    }
    let name: Bytes = line.drain(..end).collect();
    let quoted = [b"\"", &name[..], b"\""].concat();
    if line[0] != b'{' {
        line.splice(0..0, [b"{", &quoted[..], b"}"].concat());
        return;
    }
    match label_position(random, line) {
        Some(at) if random.chance(70) => drop(line.splice(at..at, [&quoted[..], b","].concat())),
        _ => {
            let close = line.iter().rposition(|byte| *byte == b'}').unwrap_or(line.len());
            line.splice(close..close, [b",", &quoted[..]].concat());
        }
    }
}

fn insert_blanks(random: &mut Random, line: &mut Bytes) {
    const BLANKS: &str = " |  |\t|\r|\u{c}|\u{a0}|| \t ";
    let places: Vec<_> = (0..line.len()).filter(|at| b"{},= \"".contains(&line[*at])).collect();
    let ends = [0, line.len()];
    let at = if random.chance(60) && !places.is_empty() {
        random.pick(&places) + random.below(2)
    } else {
        *random.pick(&ends)
    };
    // Sometimes a byte is replaced.
    let end = (at + usize::from(random.chance(15))).min(line.len());
    replace(random, line, at, end, BLANKS);
}

fn replace_comma(random: &mut Random, line: &mut Bytes) {
    let commas: Vec<_> = (0..line.len()).filter(|at| line[*at] == b',').collect();
    if !commas.is_empty() {
        let at = *random.pick(&commas);
        replace(random, line, at, at + 1, "| |,,|;");
    }
}

fn remove_line(random: &mut Random, lines: &mut Lines) {
    if !lines.is_empty() {
        lines.remove(random.below(lines.len()));
    }
}

/// Repeats a series with another value or another spelling.
fn repeat_line(random: &mut Random, lines: &mut Lines) {
    if lines.is_empty() {
        return;
    }
    let mut line = random.pick(lines).clone();
    match random.below(5) {
        0 => {}
        1 => replace_value(random, &mut line),
        2 => insert_blanks(random, &mut line),
        3 => quote_name(random, &mut line),
        _ => reverse_labels(&mut line),
    }
    let at = random.below(lines.len() + 1);
    lines.insert(at, line);
}

fn reverse_labels(line: &mut Bytes) {
    let text = String::from_utf8_lossy(line).into_owned();
    let Some((name, rest)) = text.split_once('{') else { return };
    let Some((labels, value)) = rest.rsplit_once('}') else { return };
    let labels: Vec<_> = labels.split(',').rev().collect();
    *line = format!("{name}{{{}}}{value}", labels.join(",")).into_bytes();
}

fn swap_lines(random: &mut Random, lines: &mut Lines) {
    if !lines.is_empty() {
        let (a, b) = (random.below(lines.len()), random.below(lines.len()));
        lines.swap(a, b);
    }
}

fn insert_comment(random: &mut Random, lines: &mut Lines) {
    const COMMENTS: &str = concat!(
        "# TYPE x gauge|# TYPE x histogram|# TYPE x summary|# TYPE x gauge2|# TYPE x|# TYPE|# HELP x|",
        "# HELP x \\n é|# HELP|# HELP 1x y|# EOF|# EOF |#EOF|# UNIT x_seconds seconds|# UNIT x seconds|",
        "# a comment|#|##|#\u{0}|# \u{0} x|# HELP \"a.b\" x|# HELP \"a\nb 5\nc\" x|# TYPE \"a.b\" gauge|",
        "#  TYPE x gauge| # TYPE x gauge|# TYPE x unknown|# TYPE x untyped|# TYPE x counter |#\r|",
        "# HELP x \r",
    );
    let at = random.below(lines.len() + 1);
    lines.insert(at, one_of(random, COMMENTS).into());
}

fn insert_strange_line(random: &mut Random, lines: &mut Lines) {
    const LINES: &str = concat!(
        "| |\t|\r|\u{0}|\u{0}x 1|<html>|{\"detail\":\"Not Found\"}|x|x{|x 1|1 x|x 1{|{}|{} 1|x{a=\"|\"} 1|",
        "{\"x\"|é 1|x-1|x.5|x+Inf|x-1 5|:x 1|_ 1|x\u{c}1|{\"x\"}{a=\"b\"} 1|x{} {} 1|{\"\"} 1",
    );
    let at = random.below(lines.len() + 1);
    lines.insert(at, one_of(random, LINES).into());
}

fn join_lines(random: &mut Random, lines: &mut Lines) {
    if lines.len() > 1 {
        let at = random.below(lines.len() - 1);
        let next = lines.remove(at + 1);
        lines[at].extend(next);
    }
}

fn split_line(random: &mut Random, lines: &mut Lines) {
    if !lines.is_empty() {
        let at = random.below(lines.len());
        let cut = random.below(lines[at].len() + 1);
        let rest = lines[at].split_off(cut);
        lines.insert(at + 1, rest);
    }
}
