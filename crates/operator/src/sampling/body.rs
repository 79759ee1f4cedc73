//! The body of a response, read within a limit and the budget of memory.

use std::sync::Arc;

use crate::sampling::{
    error::FetchProblem, memory::Reservation, response::LONGEST_HEAD, spares::Spares,
};

/// The smallest capacity of a body, in bytes.
const SMALLEST: usize = 16 << 10;

/// The largest capacity of a buffer that is kept, in bytes.
const KEPT_CAPACITY: usize = 256 << 10;

/// Buffers that bodies are read into, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Spares<Vec<u8>>);

impl Buffers {
    fn acquire(&self) -> Vec<u8> {
        let mut buffer = self.0.acquire();
        buffer.clear();
        buffer
    }

    /// Takes a buffer back. The memory of an unusually large body is given to the system.
    pub(crate) fn release(&self, buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_CAPACITY {
            self.0.release(buffer);
        }
    }
}

/// A body that is read, within a limit and the budget.
pub(crate) struct Body {
    bytes: Vec<u8>,
    /// Has a buffer for its first byte. A body that is waited for has none.
    buffers: Option<Arc<Buffers>>,
    /// The size of the largest body, in bytes.
    limit: usize,
    memory: Reservation,
    /// The memory that is reserved for a byte of the body, in bytes: for itself, and for the result
    /// of parsing it.
    per_byte: usize,
}

impl Body {
    /// Begins an empty body of at most `limit` bytes, which will have one of these buffers.
    pub(crate) fn new(buffers: &Arc<Buffers>, limit: usize, memory: Reservation) -> Self {
        Self { buffers: Some(buffers.clone()), ..Self::parsed(limit, memory, 1) }
    }

    /// Begins an empty body, and reserves this much memory for each byte of it.
    pub(crate) fn parsed(limit: usize, memory: Reservation, per_byte: usize) -> Self {
        Self { bytes: Vec::new(), buffers: None, limit, memory, per_byte }
    }

    /// Appends a part.
    ///
    /// # Errors
    /// The body is larger than its limit, or than the memory that is left.
    pub(crate) fn push(&mut self, part: &[u8]) -> Result<(), FetchProblem> {
        let length = self.bytes.len() + part.len();
        if length > self.limit {
            return Err(FetchProblem::TooLarge(self.limit));
        }
        let mut capacity = self.bytes.capacity();
        if length > capacity {
            capacity = length.max(2 * capacity).clamp(SMALLEST, self.limit.max(SMALLEST));
            if length <= self.memory.bytes() {
                capacity = capacity.min(self.memory.bytes());
            }
        }
        if self.memory.grow_to(self.per_byte * capacity).is_err() {
            capacity = length;
            self.memory.grow_to(self.per_byte * capacity)?;
        }
        self.bytes.reserve_exact(capacity - self.bytes.len());
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// Returns the bytes with room for more of them: for `left`, if it is known how many are to
    /// come, and for one at least.
    ///
    /// # Errors
    /// The body is larger than its limit with the head of a response, or than the memory that is
    /// left.
    pub(crate) fn room(&mut self, left: Option<usize>) -> Result<&mut Vec<u8>, FetchProblem> {
        if let Some(buffers) = self.buffers.take() {
            self.bytes = buffers.acquire();
        }
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        let most = self.limit + LONGEST_HEAD;
        if length >= most {
            return Err(FetchProblem::TooLarge(self.limit));
        }
        let needed = (length + left.unwrap_or(1).max(1)).min(most);
        let wanted = if needed <= capacity {
            capacity
        } else if left.is_some() {
            needed
        } else {
            // What the latest page took is reserved, so that one read may have all of this one.
            needed.max(2 * capacity).max(self.memory.bytes()).clamp(SMALLEST, most)
        };
        let mut wanted = wanted;
        if self.memory.grow_to(self.per_byte * wanted).is_err() {
            wanted = needed.max(capacity);
            self.memory.grow_to(self.per_byte * wanted)?;
        }
        self.bytes.reserve_exact(wanted - length);
        Ok(&mut self.bytes)
    }

    /// Returns the size of the largest body, in bytes.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns an empty body with the same limit, and memory of its own.
    pub(crate) fn sibling(&self) -> Self {
        Self::parsed(self.limit, self.memory.sibling(), self.per_byte)
    }

    /// Returns the reservation.
    pub(crate) fn memory(&mut self) -> &mut Reservation {
        &mut self.memory
    }

    /// Returns the bytes, and the memory that is reserved for them.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Reservation) {
        (self.bytes, self.memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sampling::memory::MemoryBudget, telemetry::Telemetry};

    fn used(telemetry: &Telemetry) -> usize {
        let page = telemetry.open_metrics();
        let line = page.lines().find(|line| line.starts_with("llm_autoscaler_memory_reserved"));
        line.and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap()
    }

    #[test]
    fn a_body_ends_at_its_limit_and_at_the_end_of_the_memory() {
        let telemetry = Telemetry::default();
        let budget = MemoryBudget::new(1 << 20, telemetry.clone());
        let mut body = Body::new(&Arc::default(), 200 << 10, budget.of("a").empty());
        let part = vec![b'x'; 100 << 10];
        assert_eq!((body.push(&part), body.push(&part)), (Ok(()), Ok(())));
        assert_eq!(body.push(b"y"), Err(FetchProblem::TooLarge(200 << 10)));
        assert_eq!((body.bytes().len(), used(&telemetry)), (200 << 10, 200 << 10));

        let mut other = Body::new(&Arc::default(), 4 << 20, budget.of("a").empty());
        let pushed = std::iter::repeat_with(|| other.push(&part)).take_while(Result::is_ok);
        assert_eq!(pushed.count(), 3, "half of the budget less the other body's");
        let text = other.push(&part).unwrap_err().to_string();
        assert!(text.contains("--memory-budget"), "{text}");
        drop((body, other));
        assert_eq!(used(&telemetry), 0);
    }

    #[test]
    fn reused_memory_of_a_body_counts() {
        let telemetry = Telemetry::default();
        let budget = MemoryBudget::new(1 << 20, telemetry.clone());
        let buffers = Arc::new(Buffers::default());
        buffers.release(Vec::with_capacity(1 << 17));
        let mut body = Body::new(&buffers, 1 << 20, budget.of("a").empty());
        assert_eq!((used(&telemetry), buffers.0.count()), (0, 1), "nothing is there yet");
        body.room(None).unwrap().push(b'x');
        assert!(used(&telemetry) >= 1 << 17);
        buffers.release(body.into_parts().0);
        assert_eq!(buffers.0.count(), 1);
    }
}
