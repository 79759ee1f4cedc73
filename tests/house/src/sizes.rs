//! The lengths of files and functions, in lines.

use anyhow::{Context as _, Result};
use syn::{
    Block, ImplItemFn, ItemFn, Signature, TraitItemFn,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::checkout::TextFile;

/// A function and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name, without that of its type.
    pub name: String,
    /// The place of its signature, `file:line`.
    pub place: String,
    /// The lines of its body, those of both braces included.
    pub lines: usize,
}

/// Returns every function of a file that has a body, also those inside of others.
///
/// # Errors
/// If the file is not Rust.
pub fn functions(file: &TextFile) -> Result<Vec<Function>> {
    let parsed = syn::parse_file(&file.text).with_context(|| format!("parsing {}", file.name))?;
    let mut bodies = Bodies { file: &file.name, found: Vec::new() };
    bodies.visit_file(&parsed);
    Ok(bodies.found)
}

struct Bodies<'a> {
    file: &'a str,
    found: Vec<Function>,
}

impl Bodies<'_> {
    fn add(&mut self, signature: &Signature, body: &Block) {
        let span = body.span();
        self.found.push(Function {
            name: signature.ident.to_string(),
            place: format!("{}:{}", self.file, signature.span().start().line),
            lines: span.end().line - span.start().line + 1,
        });
    }
}

impl<'ast> Visit<'ast> for Bodies<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.add(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::functions;
    use crate::checkout::TextFile;

    #[test]
    fn functions_are_measured_wherever_they_are() {
        let text = "fn a() {\n}\nimpl S {\n\
                    \x20   fn b(\n        x: u8,\n    ) {\n        fn c() {}\n    }\n}\n\
                    trait T {\n    fn none();\n    fn d() {\n    }\n}";
        let file = TextFile { name: "f.rs".to_owned(), text: text.to_owned() };
        let found: Vec<_> = functions(&file)
            .unwrap()
            .into_iter()
            .map(|it| format!("{} {} {}", it.name, it.place, it.lines))
            .collect();
        assert_eq!(found, ["a f.rs:1 2", "b f.rs:4 3", "c f.rs:7 1", "d f.rs:12 2"]);
    }
}
