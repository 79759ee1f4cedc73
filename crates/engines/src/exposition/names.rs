//! Names of metrics and labels.

use super::scan::first_of;

/// A Bloom filter of the first bytes of the names in `# TYPE` lines that are about a wanted family.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beginnings(u64);

/// The number of bytes at the beginning of a name that are looked at.
const BEGINNING: usize = 8;

impl Beginnings {
    /// Adds a name of a `# TYPE` line.
    pub(super) fn add(&mut self, name: &[u8]) {
        // Anything may follow a short name, so that it has all bits.
        self.0 |= name.first_chunk().map_or(u64::MAX, |name| Self::bit(*name));
    }

    /// Returns false only if a comment is about no wanted family, without a look at all of it. More
    /// blanks may precede the name, so only one that begins right there is looked at.
    #[inline]
    pub(super) fn may_have(self, line: &[u8]) -> bool {
        match line.strip_prefix(b"# TYPE ") {
            Some(name @ [b'!'..=b'~', ..]) => {
                name.first_chunk().is_none_or(|name| self.0 & Self::bit(*name) != 0)
            }
            _ => !line.starts_with(b"# HELP"),
        }
    }

    /// Returns the bit of a name that begins like this.
    fn bit(name: [u8; BEGINNING]) -> u64 {
        /// An odd number without a pattern: the digits of the golden ratio.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        1 << (u64::from_le_bytes(name).wrapping_mul(SPREAD) >> 58)
    }
}

/// Returns the name that a line begins with.
#[inline]
pub(super) fn bare_name(line: &[u8]) -> Option<&[u8]> {
    let end = first_of([b'{', b' ', b'\t'], line).unwrap_or(line.len());
    let begins = line.first().is_some_and(|byte| starts_name(*byte) || *byte == b':');
    begins.then(|| &line[..end])
}

/// What each byte may be a part of: bit 0 is set if a label's name may begin with it, bit 1 if it
/// may have it, and bit 2 if a metric's name may have it.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = (byte as u8).is_ascii_alphabetic() || byte as u8 == b'_';
        let digit = (byte as u8).is_ascii_digit();
        classes[byte] = match byte as u8 {
            b':' => 0b100,
            _ if letter => 0b111,
            _ if digit => 0b110,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

pub(super) fn starts_name(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & 0b001 != 0
}

pub(super) fn continues_name(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & 0b010 != 0
}

pub(super) fn in_name(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & 0b100 != 0
}
