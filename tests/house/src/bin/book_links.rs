//! mdBook's preprocessor for links that leave the book (`docs/book.toml`).

use std::{env, io};

use anyhow::{Context as _, Result, bail};
use llm_autoscaler_house::book_links;
use serde_json::Value;

fn main() -> Result<()> {
    if env::args().nth(1).as_deref() == Some("supports") {
        return Ok(()); // every renderer
    }
    let input: Value = serde_json::from_reader(io::stdin().lock()).context("reading the book")?;
    let Value::Array(parts) = input else {
        bail!("mdBook passes a list: its context and the book")
    };
    let mut book = parts.into_iter().nth(1).context("mdBook passed no book")?;
    book_links::rewrite(&mut book);
    serde_json::to_writer(io::stdout().lock(), &book).context("writing the book")
}
