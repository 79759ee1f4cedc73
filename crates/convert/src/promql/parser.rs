//! Expressions of the recognized shapes.

use super::{
    Aggregation, Matcher, Over, Selected, Shape,
    lexer::{Token, tokens},
};

/// Returns the shape of an expression; `None` if it is none of those that are recognized.
pub(crate) fn shape(expression: &str) -> Option<Shape> {
    let mut words = Words { tokens: tokens(expression)?, at: 0 };
    let mut shape = words.quantile().or_else(|| words.retry(Words::added))?;
    if words.is_name("or") {
        words.at += 1;
        if words.is_name("on") {
            words.at += 1;
            words.marks(&["(", ")"])?;
        }
        words.name("vector")?;
        words.mark("(")?;
        let zero = words.number()?;
        words.mark(")")?;
        shape.or_zero = zero == 0.0;
        shape.or_zero.then_some(())?;
    }
    (words.at == words.tokens.len()).then_some(shape)
}

/// Summands, and the function over a range that they are in.
type Summed = (Vec<Selected>, Option<(Over, u32)>);

struct Words {
    tokens: Vec<Token>,
    at: usize,
}

impl Words {
    /// Reads from the first word again.
    fn retry<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<T> {
        self.at = 0;
        read(self)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned()?;
        self.at += 1;
        Some(token)
    }

    fn is_name(&self, name: &str) -> bool {
        self.tokens.get(self.at) == Some(&Token::Name(name.to_owned()))
    }

    fn is_mark(&self, mark: &'static str) -> bool {
        self.tokens.get(self.at) == Some(&Token::Mark(mark))
    }

    fn mark(&mut self, mark: &'static str) -> Option<()> {
        (self.next()? == Token::Mark(mark)).then_some(())
    }

    fn marks(&mut self, marks: &[&'static str]) -> Option<()> {
        marks.iter().try_for_each(|mark| self.mark(mark))
    }

    fn name(&mut self, name: &str) -> Option<()> {
        (self.next()? == Token::Name(name.to_owned())).then_some(())
    }

    fn number(&mut self) -> Option<f64> {
        match self.next()? {
            Token::Number(number) => Some(number),
            _ => None,
        }
    }

    /// `histogram_quantile(0.9, sum(rate(x_bucket[5m])) by (le))`
    fn quantile(&mut self) -> Option<Shape> {
        self.name("histogram_quantile")?;
        self.mark("(")?;
        let quantile = self.number()?;
        self.mark(",")?;
        let mut inner = self.aggregated()?;
        self.mark(")")?;
        let is_rate = matches!(inner.over, Some((Over::Rate, _)));
        let is_sum = matches!(inner.aggregation, None | Some(Aggregation::Sum));
        let is_bucket = inner.terms.len() == 1 && inner.terms[0].name.ends_with("_bucket");
        let has_bound = inner.aggregation.is_none() || inner.by.iter().any(|label| label == "le");
        (is_rate && is_sum && is_bucket && has_bound).then_some(())?;
        inner.quantile = Some(quantile);
        Some(inner)
    }

    /// One aggregation, or `sum(x) by (pod) + sum(y) by (pod)`, which is `sum(x + y) by (pod)`.
    fn added(&mut self) -> Option<Shape> {
        let is_sum =
            |shape: &Shape| shape.aggregation == Some(Aggregation::Sum) && shape.over.is_none();
        let mut shape = self.aggregated()?;
        while self.is_mark("+") {
            self.at += 1;
            let more = self.aggregated()?;
            (is_sum(&shape) && is_sum(&more) && shape.by == more.by).then_some(())?;
            shape.terms.extend(more.terms);
        }
        Some(shape)
    }

    /// `sum(x) by (pod)`, `sum by (pod) (x)`, `sum(x)`, `x`
    fn aggregated(&mut self) -> Option<Shape> {
        let aggregation = match self.tokens.get(self.at)? {
            Token::Name(name) => match name.as_str() {
                "sum" => Some(Aggregation::Sum),
                "avg" => Some(Aggregation::Avg),
                "max" => Some(Aggregation::Max),
                "min" => Some(Aggregation::Min),
                _ => None,
            },
            _ => None,
        };
        let (mut by, terms, over);
        if aggregation.is_some() {
            self.at += 1;
            by = self.by()?;
            self.mark("(")?;
            (terms, over) = self.sum()?;
            self.mark(")")?;
            by.extend(self.by()?);
        } else {
            by = Vec::new();
            (terms, over) = self.sum()?;
        }
        Some(Shape { aggregation, by, terms, over, quantile: None, or_zero: false })
    }

    /// `by (a, b)`, or nothing. `without` is not recognized.
    fn by(&mut self) -> Option<Vec<String>> {
        let mut labels = Vec::new();
        if !self.is_name("by") {
            return Some(labels);
        }
        self.at += 1;
        self.mark("(")?;
        while !self.is_mark(")") {
            match self.next()? {
                Token::Name(label) => labels.push(label),
                _ => return None,
            }
            if self.is_mark(",") {
                self.at += 1;
            }
        }
        self.mark(")")?;
        Some(labels)
    }

    /// `x + y`, or a function of one series over a range.
    fn sum(&mut self) -> Option<Summed> {
        let function = match self.tokens.get(self.at)? {
            Token::Name(name) if name == "rate" => Some(Over::Rate),
            Token::Name(name) if name == "avg_over_time" => Some(Over::Mean),
            _ => None,
        };
        if let Some(function) = function {
            self.at += 1;
            self.mark("(")?;
            let selected = self.selected()?;
            self.mark("[")?;
            let Token::Duration(range) = self.next()? else { return None };
            self.marks(&["]", ")"])?;
            return Some((vec![selected], Some((function, range))));
        }
        let mut terms = vec![self.selected()?];
        while self.is_mark("+") {
            self.at += 1;
            terms.push(self.selected()?);
        }
        Some((terms, None))
    }

    /// `x{a="b"}`, or `{__name__="x"}`
    fn selected(&mut self) -> Option<Selected> {
        let mut name = match self.tokens.get(self.at)? {
            Token::Name(name) => {
                self.at += 1;
                Some(name.clone())
            }
            _ => None,
        };
        let mut matchers = Vec::new();
        if self.is_mark("{") {
            self.at += 1;
            while !self.is_mark("}") {
                let Token::Name(label) = self.next()? else { return None };
                let Token::Mark(op) = self.next()? else { return None };
                ["=", "!=", "=~", "!~"].contains(&op).then_some(())?;
                let Token::Text(value) = self.next()? else { return None };
                if label == "__name__" && op == "=" && name.is_none() {
                    name = Some(value);
                } else {
                    matchers.push(Matcher { label, op: op.to_owned(), value });
                }
                if self.is_mark(",") {
                    self.at += 1;
                }
            }
            self.mark("}")?;
        }
        Some(Selected { name: name?, matchers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a shape down as `aggregation by over terms quantile zero`.
    fn told(expression: &str) -> Option<String> {
        let Shape { aggregation, by, terms, over, quantile, or_zero } = shape(expression)?;
        let terms: Vec<String> = terms
            .iter()
            .map(|term| {
                let matchers: Vec<String> = term.matchers.iter().map(Matcher::to_string).collect();
                format!("{}{{{}}}", term.name, matchers.join(","))
            })
            .collect();
        let mut told = terms.join("+");
        if let Some((function, range)) = over {
            told = format!("{function:?} {range} {told}");
        }
        if let Some(aggregation) = aggregation {
            told = format!("{aggregation:?} {} {told}", by.join(","));
        }
        if let Some(quantile) = quantile {
            told = format!("p{quantile} {told}");
        }
        Some(if or_zero { format!("{told} or 0") } else { told })
    }

    #[test]
    fn usual_expressions_are_recognized() {
        for (expression, expected) in [
            ("vllm:num_requests_waiting", "vllm:num_requests_waiting{}"),
            (r#"sum(a{x="1",y=~"b|c"}) by (pod)"#, r#"Sum pod a{x="1",y=~"b|c"}"#),
            ("avg by (namespace, pod) (a{})", "Avg namespace,pod a{}"),
            ("sum(a + b{x!='y'})", r#"Sum  a{}+b{x!="y"}"#),
            ("sum(a) + sum(b)", "Sum  a{}+b{}"),
            ("sum(a) by (pod) + sum by (pod) (b + c) or vector(0)", "Sum pod a{}+b{}+c{} or 0"),
            ("sum(rate(a_total[2m]))", "Sum  Rate 120 a_total{}"),
            ("max(avg_over_time(a[1m30s])) by (pod)", "Max pod Mean 90 a{}"),
            ("sum(a) or vector(0)", "Sum  a{} or 0"),
            ("sum(a) or on() vector(0)", "Sum  a{} or 0"),
            (
                "histogram_quantile(0.95, sum(rate(a_bucket[5m])) by (le))",
                "p0.95 Sum le Rate 300 a_bucket{}",
            ),
            (r#"sum({__name__="a.b", x="1"})"#, r#"Sum  a.b{x="1"}"#),
        ] {
            assert_eq!(told(expression).as_deref(), Some(expected), "{expression}");
        }
    }

    #[test]
    fn anything_else_stays_a_query() {
        for expression in [
            "",
            "1",
            "sum(a) * 100",
            "sum(a) / sum(b)",
            "sum(a) + avg(b)",
            "sum(a) + b",
            "a + sum(b)",
            "sum(a) by (pod) + sum(b)",
            "sum(a) + sum(rate(b[1m]))",
            "sum(a) +",
            "sum(a) by (pod) or vector(1)",
            "sum without (x) (a)",
            "sum(increase(a[1m]))",
            "max_over_time(a[1m])",
            "sum(a offset 5m)",
            "sum(rate(a[5m:1m]))",
            "histogram_quantile(0.9, sum(rate(a_bucket[5m])) by (pod))",
            "histogram_quantile(0.9, sum(a_bucket) by (le))",
            "sum(a",
            "sum(a) # comment",
            r#"sum(a{x="1"#,
            "{x=\"1\"}",
            "topk(3, a)",
        ] {
            assert_eq!(told(expression), None, "{expression}");
        }
    }
}
