//! Names of metrics and labels.

use super::scan::first_of;

/// Returns the name that a line begins with.
#[inline]
pub(super) fn bare_name(line: &[u8]) -> Option<&[u8]> {
    let end = first_of([b'{', b' ', b'\t'], line).unwrap_or(line.len());
    let begins = line.first().is_some_and(|byte| starts_name(*byte) || *byte == b':');
    begins.then(|| &line[..end])
}

/// What each byte may be a part of: bit 0 is set if a name may begin with it, bit 1 if a label's
/// name may have it, and bit 2 if a metric's may.
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
