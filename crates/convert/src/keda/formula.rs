//! `scalingModifiers.formula`: arithmetic on the values of triggers, as PromQL.

/// Returns the formula as PromQL, where `query` gives the expression of a trigger. Only `+ - * /`,
/// parentheses, numbers and names of triggers are known; `None` for anything else.
pub(super) fn promql(formula: &str, query: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (mut rest, mut text, mut has_name) = (formula.trim(), String::new(), false);
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let length = match first {
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            '+' | '-' | '*' | '/' | '(' | ')' => 1,
            _ => return None,
        };
        let word = &rest[..length];
        if word.parse::<f64>().is_ok() && first.is_ascii_digit() {
            text.push_str(word);
        } else if is_word(first) {
            let is_call = rest[length..].trim_start().starts_with('(');
            has_name = true;
            text.push_str(&(!is_call).then(|| query(word)).flatten()?);
        } else {
            // Two stars are a power.
            (!(word == "*" && rest[length..].starts_with('*'))).then_some(())?;
            text.push_str(word);
        }
        let after = &rest[length..];
        rest = after.trim_start();
        let is_operator = |text: &str| text.starts_with(['+', '-', '*', '/']);
        if !rest.is_empty() && (is_operator(word) || is_operator(rest)) {
            text.push(' ');
        }
    }
    (has_name && is_balanced(&text)).then_some(text)
}

/// Returns the arguments of a formula that is one maximum, `max(a, b)` or `max([a, b])`, else the
/// formula. Of several metrics with the same target, the largest value decides as well.
pub(super) fn largest(formula: &str) -> Vec<&str> {
    let call = formula.trim().strip_prefix("max").map(str::trim);
    let Some(list) = call.and_then(|call| within(call, '(', ')')) else { return vec![formula] };
    let list = within(list, '[', ']').unwrap_or(list);
    if !is_balanced(list) {
        return vec![formula];
    }
    let mut depth = 0i32;
    let is_separator = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    };
    list.split(is_separator).collect()
}

fn within(text: &str, open: char, close: char) -> Option<&str> {
    Some(text.strip_prefix(open)?.strip_suffix(close)?.trim())
}

fn is_balanced(text: &str) -> bool {
    let mut depth = 0i32;
    let is_open = text.chars().all(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth >= 0
    });
    is_open && depth == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_promql() {
        let query = |name: &str| ["a", "b_1"].contains(&name).then(|| format!("sum({name})"));
        for (formula, expected) in [
            ("a", Some("sum(a)")),
            ("(a + b_1)/2", Some("(sum(a) + sum(b_1)) / 2")),
            ("a*0.5-b_1", Some("sum(a) * 0.5 - sum(b_1)")),
            ("a ** 2", None),
            ("max([a, b_1])", None),
            ("a > 2 ? a : b_1", None),
            ("avg(a)", None),
            ("c", None),
            ("(a", None),
            ("1 + 2", None),
        ] {
            assert_eq!(promql(formula, query).as_deref(), expected, "{formula}");
        }
    }

    #[test]
    fn a_maximum_is_its_arguments() {
        let table: [(&str, &[&str]); 7] = [
            ("max([a, b * 4])", &["a", " b * 4"]),
            (" max ( a,b )", &["a", "b"]),
            ("max(a)", &["a"]),
            ("max((a + b) / 2, max(a, b))", &["(a + b) / 2", " max(a, b)"]),
            ("max(a) + max(b)", &["max(a) + max(b)"]),
            ("maximum", &["maximum"]),
            ("a + b", &["a + b"]),
        ];
        for (formula, expected) in table {
            assert_eq!(largest(formula), expected, "{formula}");
        }
    }
}
