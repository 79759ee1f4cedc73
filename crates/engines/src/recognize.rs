//! Recognition of the engine that a metrics page is from.

use memchr::memchr_iter;

use crate::engine::Engine;

/// Returns the engine that most samples of a page belong to; `None` if they belong to no known
/// engine.
///
/// A worker of Dynamo also publishes the series of the engine that it runs, so a page with any
/// series of Dynamo's is Dynamo's.
pub fn recognize(page: &[u8]) -> Option<Engine> {
    if count_series(page, Engine::Dynamo) > 0 {
        return Some(Engine::Dynamo);
    }
    let counts = Engine::ALL.map(|engine| (count_series(page, engine), engine));
    let found = counts.into_iter().filter(|(series, _)| *series > 0);
    found.max_by_key(|(series, _)| *series).map(|(_, engine)| engine)
}

/// Counts the samples with a name that begins like those of `engine`.
fn count_series(page: &[u8], engine: Engine) -> usize {
    let prefixes = engine.profile().prefixes;
    let mut start = 0;
    let mut count = 0;
    for end in memchr_iter(b'\n', page) {
        let line = &page[start..end];
        count += usize::from(prefixes.iter().any(|prefix| line.starts_with(prefix.as_bytes())));
        start = end + 1;
    }
    count
}
