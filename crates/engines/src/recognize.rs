//! Recognition of the engine that a metrics page is from.

use memchr::memchr_iter;

use crate::engine::Engine;

/// Returns the engine that most samples of a page belong to; `None` if they belong to no known
/// engine. On a page without samples, the comments on families count instead: an engine may publish
/// nothing else before its first request.
///
/// A worker of Dynamo also publishes the series of the engine that it runs, so a page with any
/// series of Dynamo's is Dynamo's.
pub fn recognize(page: &[u8]) -> Option<Engine> {
    by_lines(page, |line| Some(line)).or_else(|| by_lines(page, described_family))
}

fn by_lines(page: &[u8], name: impl Fn(&[u8]) -> Option<&[u8]>) -> Option<Engine> {
    if count(page, Engine::Dynamo, &name) > 0 {
        return Some(Engine::Dynamo);
    }
    let counts = Engine::ALL.map(|engine| (count(page, engine, &name), engine));
    let found = counts.into_iter().filter(|(lines, _)| *lines > 0);
    found.max_by_key(|(lines, _)| *lines).map(|(_, engine)| engine)
}

/// Counts the lines with a name that begins like those of `engine`.
fn count(page: &[u8], engine: Engine, name: impl Fn(&[u8]) -> Option<&[u8]>) -> usize {
    let prefixes = engine.profile().prefixes;
    let begins = |line: &[u8]| prefixes.iter().any(|prefix| line.starts_with(prefix.as_bytes()));
    lines(page).filter_map(name).filter(|name| begins(name)).count()
}

/// Returns true if a sample or a comment on a family has a name that begins with `prefix`.
pub(crate) fn has_name(page: &[u8], prefix: &str) -> bool {
    lines(page)
        .map(|line| described_family(line).unwrap_or(line))
        .any(|name| name.starts_with(prefix.as_bytes()))
}

/// Returns the part of a comment that begins with the name of the family that it describes.
fn described_family(line: &[u8]) -> Option<&[u8]> {
    [&b"# TYPE "[..], b"# HELP "].iter().find_map(|comment| line.strip_prefix(*comment))
}

/// Returns the lines of a page that end with a line feed.
fn lines(page: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr_iter(b'\n', page).map(move |end| {
        let line = &page[start..end];
        start = end + 1;
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_samples_and_comments() {
        for (page, expected) in [
            ("tgi_queue_size 3\n", true),
            ("up 1\n# TYPE tgi_queue_size gauge\n", true),
            ("# HELP tgi_queue_size The queue.\n", true),
            ("# by tgi_server\nup 1\n", false),
            ("", false),
        ] {
            assert_eq!(has_name(page.as_bytes(), "tgi_"), expected, "{page:?}");
        }
    }

    #[test]
    fn a_page_of_comments_is_recognized_by_them() {
        let comments = "# TYPE tgi_queue_size gauge\n# HELP tgi_batch_current_size Batch\n";
        assert_eq!(recognize(comments.as_bytes()), Some(Engine::Tgi));
        let mixed = format!("{comments}vllm:num_requests_waiting 3\n");
        assert_eq!(recognize(mixed.as_bytes()), Some(Engine::Vllm));
        assert_eq!(recognize(b""), None);
    }
}
