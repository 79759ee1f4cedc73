//! Output of the subcommands. Its reader may go away at any time, as `head` does: that ends a
//! subcommand and is no error.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Prints a text on standard output.
///
/// # Errors
/// The text could not be written, because a disk is full for example. A reader that has gone away
/// is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    unless_closed(written).context("writing to standard output")?;
    Ok(())
}

/// Returns the result of writing to standard output; `None` if its reader has gone away.
pub(crate) fn unless_closed<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(None),
        result => result.map(Some),
    }
}

/// Prints an error on standard error, if that has a reader.
pub(crate) fn print_error(error: &anyhow::Error) {
    let _ = writeln!(io::stderr().lock(), "llm-autoscaler: {error:#}");
}
