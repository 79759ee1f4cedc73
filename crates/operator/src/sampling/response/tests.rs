//! Responses, in one part and in many.

use super::*;

const LIMIT: usize = 100;

/// Reads a response that comes in parts of these sizes, again and again. Returns its body,
/// whether the connection is kept, and whether the end of the body proves that it is complete.
fn read(response: &[u8], parts: &[usize]) -> Result<(String, bool, bool), FetchProblem> {
    let (mut reading, mut bytes) = (Response::default(), Vec::new());
    let (mut rest, mut sizes) = (response, parts.iter().cycle());
    let mut is_complete = false;
    while !is_complete && !rest.is_empty() {
        let length = sizes.next().map_or(1, |size| (*size).min(rest.len()));
        bytes.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
        is_complete = reading.advance(&mut bytes, LIMIT)?;
    }
    if !is_complete {
        reading.end()?;
        reading.is_kept = false;
    }
    let body = String::from_utf8(bytes).unwrap();
    Ok((body, reading.is_kept, reading.is_framed))
}

/// Returns the result of a response in one part, which is that in any other parts.
fn result(response: &str) -> String {
    let text = |parts: &[usize]| match read(response.as_bytes(), parts) {
        Ok((body, is_kept, is_framed)) => format!("{body}|{is_kept}|{is_framed}"),
        Err(error) => error.to_string(),
    };
    let whole = text(&[usize::MAX]);
    let mut random = fastrand::Rng::with_seed(7);
    assert_eq!(text(&[1]), whole, "byte by byte: {response:?}");
    for _ in 0..50 {
        let parts: Vec<usize> = (0..9).map(|_| random.usize(1..=12)).collect();
        assert_eq!(text(&parts), whole, "{parts:?}: {response:?}");
    }
    whole
}

#[test]
fn the_framing_of_a_body_tells_its_end() {
    // the headers and the body; the body, whether the connection is kept, whether it is framed
    for (rest, expected) in [
        ("Content-Length: 3\r\n\r\na 1", "a 1|true|true"),
        ("Content-Length: 0\r\n\r\n", "|true|true"),
        ("content-length: 3, 3\r\n\r\na 1", "a 1|true|true"),
        ("Content-Length: 3\r\nConnection: x, Close\r\n\r\na 1", "a 1|false|true"),
        ("\r\na 1\n", "a 1\n|false|false"),
        ("Transfer-Encoding: Chunked\r\n\r\n3\r\na 1\r\n0\r\n\r\n", "a 1|true|true"),
        (
            "Transfer-Encoding: chunked\r\n\r\n01;x=y\r\na\r\nA \r\n 123456789\r\n0\r\nT: 1\r\n\r\n",
            "a 123456789|true|true",
        ),
        // A length beside chunks does not count.
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\na\r\n0\r\n\r\n",
            "a|false|true",
        ),
    ] {
        assert_eq!(result(&format!("HTTP/1.1 200 OK\r\n{rest}")), expected, "{rest:?}");
    }
    let old = |connection: &str| {
        result(&format!("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n{connection}\r\na"))
    };
    assert_eq!((&*old(""), &*old("Connection: keep-alive\r\n")), ("a|false|true", "a|true|true"));
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    assert_eq!(result(interim), "a|true|true");
}

#[test]
fn a_response_that_is_damaged_is_an_error() {
    let closed = "the connection was closed before the end of the response";
    let body = "x".repeat(LIMIT + 1);
    for (rest, expected) in [
        ("Content-Length: 4\r\n\r\na 1", closed),
        ("Content-Length: 4", "the connection was closed before a response"),
        ("Content-Length: 3, 4\r\n\r\na 1", "the response has several lengths"),
        ("Content-Length: +3\r\n\r\na 1", "no length of a response"),
        ("Content-Length: 99999999999999999999999\r\n\r\na", "no length of a response"),
        ("Content-Length: 101\r\n\r\na", "the response is larger than 100 bytes"),
        (&format!("\r\n{body}"), "the response is larger than 100 bytes"),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\na 1\r\n", closed),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\na 1\r\n0\r\n", closed),
        ("Transfer-Encoding: chunked\r\n\r\n2\r\na 1\r\n", "a chunk is longer than its size"),
        ("Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "no size of a chunk"),
        ("Transfer-Encoding: chunked\r\n\r\n\r\n", "no size of a chunk"),
        (
            "Transfer-Encoding: gzip, chunked\r\n\r\n",
            "the response has an unknown Transfer-Encoding",
        ),
    ] {
        let found = result(&format!("HTTP/1.1 200 OK\r\n{rest}"));
        assert_eq!(found, expected, "{rest:?}");
    }
    let many = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n{body}\r\n");
    assert_eq!(result(&many), "the response is larger than 100 bytes");
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    assert_eq!(result(upgrade), "returned HTTP status 101");
}

#[test]
fn heads_and_lines_without_an_end_are_refused() {
    let head = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(LONGEST_HEAD));
    let size = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;{}",
        "y".repeat(LONGEST_LINE)
    );
    let line = "T: 1\r\n".repeat(LONGEST_LINE / 6 + 1);
    let trailer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{line}");
    for (response, expected) in [
        (head, "the head of the response is too long"),
        (size, "a line of a chunk is too long"),
        (trailer, "the trailer of the response is too long"),
    ] {
        for part in [usize::MAX, 1000] {
            let error = read(response.as_bytes(), &[part]).unwrap_err().to_string();
            assert_eq!(error, expected);
        }
    }
}

#[test]
fn a_response_with_more_than_its_body_ends_the_connection() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nb",
    ] {
        let (body, is_kept, _) = read(response.as_bytes(), &[usize::MAX]).unwrap();
        assert_eq!((&*body, is_kept), ("a", false));
    }
}
