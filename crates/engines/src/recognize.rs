//! Whose page is this?

use memchr::memchr_iter;

use crate::Engine;

/// The engine whose series a page has most of, if it has any engine's.
///
/// A worker of Dynamo passes on what its engine publishes, so whoever has anything of Dynamo's is Dynamo.
pub fn recognize(page: &[u8]) -> Option<Engine> {
    let count = |engine: Engine| count_series(page, engine.profile().prefixes);
    if count(Engine::Dynamo) > 0 {
        return Some(Engine::Dynamo);
    }
    let found = Engine::ALL
        .map(|engine| (count(engine), engine))
        .into_iter()
        .filter(|(series, _)| *series > 0);
    found.max_by_key(|(series, _)| *series).map(|(_, engine)| engine)
}

/// How many samples' names begin with one of `prefixes`.
fn count_series(page: &[u8], prefixes: &[&str]) -> usize {
    let begins = |line: &[u8]| prefixes.iter().any(|prefix| line.starts_with(prefix.as_bytes()));
    let mut start = 0;
    let mut count = 0;
    for end in memchr_iter(b'\n', page) {
        count += usize::from(begins(&page[start..end]));
        start = end + 1;
    }
    count
}
