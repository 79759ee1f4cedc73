//! Recognition of the engine that a metrics page is from.

use memchr::memchr_iter;

use crate::{engine::Engine, gateway::Program};

/// Returns the engine that most samples of a page belong to; `None` if they belong to no known
/// engine. On a page without samples, the comments on families count instead: an engine may publish
/// nothing else before its first request.
///
/// A worker of Dynamo also publishes the series of the engine that it runs, so a page with any
/// series of Dynamo's is Dynamo's.
pub fn recognize(page: &[u8]) -> Option<Engine> {
    match recognize_program(page)? {
        Program::Engine(engine) => Some(engine),
        Program::Gateway(_) => None,
    }
}

/// Returns the engine or the gateway that most samples of a page belong to, as [`recognize`] does.
pub fn recognize_program(page: &[u8]) -> Option<Program> {
    by_lines(page, |line| Some(line)).or_else(|| by_lines(page, described_family))
}

fn by_lines(page: &[u8], name: impl Fn(&[u8]) -> Option<&[u8]>) -> Option<Program> {
    let mut counts: Vec<(usize, Program)> = Program::all().map(|program| (0, program)).collect();
    for program in lines(page).filter_map(name).filter_map(of_name) {
        if program == Program::Engine(Engine::Dynamo) {
            return Some(program);
        }
        for (lines, counted) in &mut counts {
            *lines += usize::from(*counted == program);
        }
    }
    let found = counts.into_iter().filter(|(lines, _)| *lines > 0);
    found.max_by_key(|(lines, _)| *lines).map(|(_, program)| program)
}

/// Returns the program with the longest prefix that a name begins with.
fn of_name(name: &[u8]) -> Option<Program> {
    let of =
        |program: Program| program.profile().prefixes.iter().map(move |prefix| (*prefix, program));
    let found = Program::all().flat_map(of).filter(|(prefix, _)| begins(name, prefix));
    found.max_by_key(|(prefix, _)| prefix.len()).map(|(_, program)| program)
}

/// Returns true if a name begins with a prefix, as an engine or a program that passes it on spells
/// it: with an underscore in place of a colon, and with `ray_` before it.
fn begins(name: &[u8], prefix: &str) -> bool {
    let alike = |(found, wanted): (&u8, u8)| *found == wanted || (wanted == b':' && *found == b'_');
    let begins =
        |name: &[u8]| name.len() >= prefix.len() && name.iter().zip(prefix.bytes()).all(alike);
    begins(name) || name.strip_prefix(b"ray_").is_some_and(begins)
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
    use crate::gateway::Gateway;

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

    #[test]
    fn names_are_recognized_as_other_programs_spell_them() {
        let gateway = |name: &str| recognize_program(format!("{name} 1\n").as_bytes());
        let router = Some(Program::Gateway(Gateway::VllmRouter));
        assert_eq!(gateway("vllm_router_running_requests"), router);
        assert_eq!(gateway("ray_serve_x"), Some(Program::Gateway(Gateway::RayServe)));
        for (name, expected) in [
            ("vllm_num_requests_running", Some(Engine::Vllm)),
            ("ray_vllm:num_requests_running", Some(Engine::Vllm)),
            ("ray_vllm_num_requests_running", Some(Engine::Vllm)),
            ("vllm_omni:num_requests_running", Some(Engine::Vllm)),
            ("vllm_router_running_requests", None),
            ("sglang_num_queue_reqs", Some(Engine::Sglang)),
            ("trtllm:time_to_first_token_seconds_sum", Some(Engine::TensorRtLlm)),
            ("time_to_first_token_seconds_sum", Some(Engine::TensorRtLlm)),
            ("ray_node_cpu_utilization", None),
            ("vllm", None),
        ] {
            assert_eq!(recognize(format!("{name} 1\n").as_bytes()), expected, "{name}");
        }
    }
}
