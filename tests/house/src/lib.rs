//! Checks of the project's own structure, read from its sources.
//!
//! ```text
//! checkout ──files──> modules ──> graph      imports: up a layer, in a circle
//!                ├──> english                comments and the width of lines
//!                └──> sizes                  lines of files and functions
//! checkout ──cargo──> packages               dependencies between and below the crates
//!                └──> notices                licences of the packages in the binary
//! checkout ──files──> versions               pins, and the page that repeats them
//!                ├──> promises               tests that docs/security.md names
//!                ├──> alerts                 sections of the runbook, and unit tests of rules
//!                ├──> chart                  copies in the Helm chart, and the table of its values
//!                └──> book                   chapters, links, outputs of commands
//! book ──chapters──> book_links              links that leave the book, for mdBook
//! ```
//!
//! Every module here measures and judges nothing: the limits, and the exceptions from them, are in
//! `tests/house.rs`. `make house` prints the figures; `HOUSE_ROOT=DIR make house` prints those of
//! another checkout, to compare a revision with an older one.

pub mod alerts;
pub mod book;
pub mod book_links;
pub mod chart;
pub mod checkout;
pub mod english;
pub mod graph;
pub mod modules;
pub mod notices;
pub mod packages;
pub mod promises;
pub mod sizes;
pub mod versions;
