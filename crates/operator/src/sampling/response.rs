//! An HTTP/1.1 response, taken apart in place as its bytes come (RFC 9112).
//!
//! A scrape reads into one buffer and has one task, so the bytes of a page are neither copied into
//! frames nor handed from task to task. Whatever is ambiguous or incomplete is an error, and never
//! a shorter page.

use hyper::{StatusCode, header};

use crate::sampling::error::FetchProblem;

/// The size of the largest head, in bytes.
pub(super) const LONGEST_HEAD: usize = 32 << 10;
/// The most headers of a response.
const MOST_HEADERS: usize = 128;
/// The longest line that has the size of a chunk, and the longest trailer, in bytes.
const LONGEST_LINE: usize = 4 << 10;

/// A response that is being read.
#[derive(Debug, Default)]
pub(super) struct Response {
    part: Part,
    /// The server keeps the connection open.
    pub(super) is_kept: bool,
    /// The end of the body proves that it is complete.
    pub(super) is_framed: bool,
    /// The body is compressed by gzip.
    pub(super) is_gzip: bool,
}

/// The part of a response that comes next.
#[derive(Debug, Default)]
enum Part {
    #[default]
    Head,
    /// A body of this many bytes.
    Sized(usize),
    /// A body that ends with the connection.
    Unsized,
    Chunked(Chunks),
}

/// A body in chunks. The bytes before `end` are the body, those from `at` on are not decoded yet.
#[derive(Debug, Default)]
struct Chunks {
    end: usize,
    at: usize,
    next: Next,
}

/// The next element of a body in chunks.
#[derive(Debug, Default)]
enum Next {
    #[default]
    Size,
    /// This many bytes of a chunk.
    Data(usize),
    EndOfData,
    /// The trailer, of which this many bytes have been read.
    Trailer(usize),
}

impl Response {
    /// Takes what has been read: `bytes` has the body afterwards, as far as it is decoded. Returns
    /// true once the response is complete.
    ///
    /// # Errors
    /// The response is no HTTP, has another status than 200, or a body of more than `limit` bytes.
    pub(super) fn advance(
        &mut self,
        bytes: &mut Vec<u8>,
        limit: usize,
    ) -> Result<bool, FetchProblem> {
        while matches!(self.part, Part::Head) {
            if !self.take_head(bytes)? {
                return Ok(false);
            }
        }
        let (is_complete, length) = match &mut self.part {
            Part::Head => (false, 0),
            Part::Unsized => (false, bytes.len()),
            Part::Sized(length) => (bytes.len() >= *length, *length),
            Part::Chunked(chunks) => (chunks.decode(bytes)?, chunks.end),
        };
        if length > limit {
            return Err(FetchProblem::TooLarge(limit));
        }
        if is_complete {
            // What follows a response that was the only one is no answer to anything.
            self.is_kept &= bytes.len() <= self.consumed(length);
            bytes.truncate(length);
        }
        Ok(is_complete)
    }

    /// Returns the number of bytes that are still to come, if the head has told it.
    pub(super) fn left(&self, bytes: &[u8]) -> Option<usize> {
        if let Part::Sized(length) = &self.part { length.checked_sub(bytes.len()) } else { None }
    }

    /// Records that the server has closed the connection.
    ///
    /// # Errors
    /// It did so before the end of the response.
    pub(super) fn end(&mut self) -> Result<(), FetchProblem> {
        match &self.part {
            Part::Unsized => Ok(()),
            Part::Head => Err(network("the connection was closed before a response")),
            Part::Sized(_) | Part::Chunked(_) => {
                Err(network("the connection was closed before the end of the response"))
            }
        }
    }

    /// Returns the number of bytes in the buffer that the complete response has taken.
    fn consumed(&self, length: usize) -> usize {
        if let Part::Chunked(chunks) = &self.part { chunks.at } else { length }
    }

    /// Takes a head off the beginning, if all of it is there. That of an interim response is left
    /// out.
    fn take_head(&mut self, bytes: &mut Vec<u8>) -> Result<bool, FetchProblem> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(bytes).map_err(|error| network(&format!("no HTTP: {error}")))?;
        let httparse::Status::Complete(length) = parsed else {
            if bytes.len() > LONGEST_HEAD {
                return Err(network("the head of the response is too long"));
            }
            return Ok(false);
        };
        let status = head.code.unwrap_or_default();
        if !(100..200).contains(&status) {
            self.read_head(status, head.version == Some(1), head.headers)?;
        } else if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(FetchProblem::Status(status));
        }
        bytes.drain(..length);
        Ok(true)
    }

    fn read_head(
        &mut self,
        status: u16,
        is_persistent: bool,
        headers: &[httparse::Header<'_>],
    ) -> Result<(), FetchProblem> {
        let all = |name: header::HeaderName| {
            let named = headers.iter();
            named.filter(move |it| it.name.eq_ignore_ascii_case(name.as_str())).map(|it| it.value)
        };
        if status != StatusCode::OK {
            return Err(FetchProblem::status(status, all(header::LOCATION).next()));
        }
        let mut options = all(header::CONNECTION).flat_map(tokens);
        self.is_kept = if is_persistent {
            !options.any(|option| option.eq_ignore_ascii_case(b"close"))
        } else {
            options.any(|option| option.eq_ignore_ascii_case(b"keep-alive"))
        };
        self.is_gzip = all(header::CONTENT_ENCODING).any(|it| it.eq_ignore_ascii_case(b"gzip"));
        let codings: Vec<&[u8]> = all(header::TRANSFER_ENCODING).flat_map(tokens).collect();
        let mut lengths = all(header::CONTENT_LENGTH).flat_map(tokens);
        self.part = match (&*codings, lengths.next()) {
            ([], None) => Part::Unsized,
            ([], Some(length)) => {
                if lengths.any(|other| other != length) {
                    return Err(network("the response has several lengths"));
                }
                Part::Sized(decimal(length).ok_or_else(|| network("no length of a response"))?)
            }
            // A length beside it does not count, and such a connection is not used again.
            ([coding], length) if coding.eq_ignore_ascii_case(b"chunked") => {
                self.is_kept &= length.is_none();
                Part::Chunked(Chunks::default())
            }
            _ => return Err(network("the response has an unknown Transfer-Encoding")),
        };
        self.is_framed = !matches!(self.part, Part::Unsized);
        Ok(())
    }
}

impl Chunks {
    /// Decodes what has been read. Returns true at the end of the body.
    fn decode(&mut self, bytes: &mut Vec<u8>) -> Result<bool, FetchProblem> {
        loop {
            match self.next {
                Next::Data(0) => self.next = Next::EndOfData,
                Next::Data(left) => {
                    let length = left.min(bytes.len() - self.at);
                    if length == 0 {
                        break;
                    }
                    bytes.copy_within(self.at..self.at + length, self.end);
                    (self.at, self.end) = (self.at + length, self.end + length);
                    self.next = Next::Data(left - length);
                }
                Next::Size => {
                    let Some(line) = line(&bytes[self.at..])? else { break };
                    let size =
                        chunk_size(line.text).ok_or_else(|| network("no size of a chunk"))?;
                    self.at += line.length;
                    self.next = if size == 0 { Next::Trailer(0) } else { Next::Data(size) };
                }
                Next::EndOfData => {
                    let Some(line) = line(&bytes[self.at..])? else { break };
                    if !line.text.is_empty() {
                        return Err(network("a chunk is longer than its size"));
                    }
                    self.at += line.length;
                    self.next = Next::Size;
                }
                Next::Trailer(read) => {
                    let Some(line) = line(&bytes[self.at..])? else { break };
                    self.at += line.length;
                    if line.text.is_empty() {
                        return Ok(true);
                    }
                    if read + line.length > LONGEST_LINE {
                        return Err(network("the trailer of the response is too long"));
                    }
                    self.next = Next::Trailer(read + line.length);
                }
            }
        }
        if self.at == bytes.len() {
            bytes.truncate(self.end);
            self.at = self.end;
        }
        Ok(false)
    }
}

/// A line, and its length with its end.
struct Line<'a> {
    text: &'a [u8],
    length: usize,
}

/// Returns the line at the beginning, if its end is there.
fn line(bytes: &[u8]) -> Result<Option<Line<'_>>, FetchProblem> {
    let searched = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = searched.iter().position(|byte| *byte == b'\n') else {
        let is_too_long = bytes.len() >= LONGEST_LINE;
        return if is_too_long { Err(network("a line of a chunk is too long")) } else { Ok(None) };
    };
    let text = &bytes[..end];
    Ok(Some(Line { text: text.strip_suffix(b"\r").unwrap_or(text), length: end + 1 }))
}

/// Returns the size of a chunk by its line, which may have extensions.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let size = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let is_number = !size.is_empty() && size.iter().all(u8::is_ascii_hexdigit);
    is_number.then(|| usize::from_str_radix(str::from_utf8(size).ok()?, 16).ok())?
}

fn decimal(digits: &[u8]) -> Option<usize> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| str::from_utf8(digits).ok()?.parse().ok())?
}

/// Returns the elements of a list in a header.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn network(text: &str) -> FetchProblem {
    FetchProblem::Network(text.to_owned())
}

#[cfg(test)]
mod tests;
