//! Texts: numbers as people read them, and names as HTML.

/// Returns a text as HTML, for elements and for attributes in double quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // No control character is allowed in HTML but these.
            letter if letter.is_control() && letter != '\n' && letter != '\t' => {
                html.push('\u{fffd}');
            }
            letter => html.push(letter),
        }
    }
    html
}

/// Returns a whole number with commas between thousands.
pub(super) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with a noun: `1 request`, `2 requests`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", whole(number))
}

/// Returns a share in percent. Below 100 % it never reads 100 %.
pub(super) fn percent(share: f64) -> String {
    let hundredths = (share * 1e4).round();
    let hundredths = if share < 1.0 { hundredths.min(9_999.0) } else { hundredths };
    format!("{:.2} %", hundredths / 100.0)
}

/// Returns a share in percent that does not read as the promised one where it is below it.
pub(super) fn attained(share: f64, promised: f64) -> String {
    let lacks = share * 100.0 < promised && (share * 1e4).round() >= promised * 100.0;
    if lacks { percent((share * 1e4).floor() / 1e4) } else { percent(share) }
}

/// Returns hours of GPUs.
pub(super) fn hours(hours: f64) -> String {
    match hours {
        hours if hours >= 1_000.0 => whole(hours.round() as u64),
        hours if hours >= 100.0 => format!("{hours:.1}"),
        hours => format!("{hours:.2}"),
    }
}

/// Returns a number of an axis without digits that say nothing: `0.5`, `20`, `1,500`.
pub(super) fn tick(number: f64) -> String {
    if number >= 1_000.0 {
        whole(number.round() as u64)
    } else {
        format!("{}", (number * 1e6).round() / 1e6)
    }
}

/// Returns a latency: `85 ms`, `2.5 s`, `120 s`.
pub(crate) fn latency(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 100.0 => format!("{seconds:.1} s"),
        seconds => format!("{seconds:.0} s"),
    }
}

/// Returns a latency of an axis, or of a promise: `85 ms`, `2 s`.
pub(super) fn round_latency(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{} ms", tick(seconds * 1e3))
    } else {
        format!("{} s", tick(seconds))
    }
}

/// Returns a duration in at most two units: `45 s`, `5 min 15 s`, `1 h 5 min`, `2 d 3 h`.
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let first = units.iter().position(|(_, length)| seconds >= *length).unwrap_or(units.len() - 1);
    let (unit, length) = units[first];
    let rest = units.get(first + 1).map(|(unit, below)| (unit, seconds % length / below));
    match rest {
        Some((below, number)) if number > 0 => {
            format!("{} {unit} {number} {below}", seconds / length)
        }
        _ => format!("{} {unit}", seconds / length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_texts_and_never_markup() {
        for (text, expected) in [
            ("qwen3", "qwen3"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\" onload='x' &amp;", "&quot; onload=&#39;x&#39; &amp;amp;"),
            ("名前\u{0}\u{1b}", "名前\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        for (found, expected) in [
            (whole(0), "0"),
            (whole(999), "999"),
            (whole(1_000), "1,000"),
            (whole(8_553_763), "8,553,763"),
            (counted(1, "request"), "1 request"),
            (counted(15_180, "request"), "15,180 requests"),
            (percent(1.0), "100.00 %"),
            (percent(0.999_999), "99.99 %"),
            (percent(0.727_86), "72.79 %"),
            (percent(0.0), "0.00 %"),
            (attained(0.989_99, 99.0), "98.99 %"),
            (attained(0.99, 99.0), "99.00 %"),
            (attained(0.727_86, 99.0), "72.79 %"),
            (hours(3.135), "3.13"),
            (hours(123.46), "123.5"),
            (hours(12_345.6), "12,346"),
            (tick(0.1 + 0.2), "0.3"),
            (tick(20.0), "20"),
            (tick(1_500.0), "1,500"),
            (latency(0.085), "85 ms"),
            (latency(2.54), "2.5 s"),
            (latency(120.4), "120 s"),
            (round_latency(0.1), "100 ms"),
            (round_latency(2.0), "2 s"),
            (duration(0.0), "0 s"),
            (duration(59.6), "1 min"),
            (duration(315.0), "5 min 15 s"),
            (duration(3_900.0), "1 h 5 min"),
            (duration(86_399.0), "23 h 59 min"),
            (duration(183_600.0), "2 d 3 h"),
        ] {
            assert_eq!(found, expected);
        }
    }
}
