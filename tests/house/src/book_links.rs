//! Links of the book that leave it.
//!
//! The book has the pages of `docs` only. A page may link to another file of the repository, which
//! is no page of the book: there such a link becomes the file's name.

use serde_json::Value;

use crate::book::resolved;

/// Rewrites the chapters of a book as mdBook passes it to a preprocessor: an object with items.
pub fn rewrite(book: &mut Value) {
    match book {
        Value::Object(fields) => {
            let path = fields.get("path").and_then(Value::as_str).unwrap_or_default().to_owned();
            if let Some(Value::String(content)) = fields.get_mut("content") {
                *content = inside(content, &path);
            }
            fields.values_mut().for_each(rewrite);
        }
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        _ => {}
    }
}

/// Returns the text of a chapter without the links that leave the folder of the book.
fn inside(page: &str, path: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        let outside = after.split_once(')').and_then(|(link, after)| {
            let file = resolved(&format!("docs/{path}"), link)?;
            Some((file, after, text.rfind('[')?))
        });
        match outside {
            Some((file, after, open)) if !file.starts_with("docs/") => {
                let label = text.split_off(open).split_off(1);
                text.push_str(&label);
                if label.trim_matches('`') != file {
                    text.extend([" (`", &file, "` of the repository)"]);
                }
                rest = after;
            }
            _ => {
                text.push_str("](");
                rest = after;
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::rewrite;

    #[test]
    fn a_link_out_of_the_book_becomes_a_name() {
        let table = [
            ("a.md", "[b](b.md) [c](#c)", "[b](b.md) [c](#c)"),
            (
                "a.md",
                "see [the file](../x/y.md), ok",
                "see the file (`x/y.md` of the repository), ok",
            ),
            ("a.md", "[`x/y`](../x/y)", "`x/y`"),
            ("adr/1.md", "[b](../b.md)", "[b](../b.md)"),
            ("a.md", "[web](https://a.example/b)", "[web](https://a.example/b)"),
        ];
        for (path, page, expected) in table {
            let mut book =
                json!({"items": [{"Chapter": {"content": page, "path": path, "sub_items": []}}]});
            rewrite(&mut book);
            assert_eq!(book["items"][0]["Chapter"]["content"], expected, "{page}");
        }
    }
}
