//! Searches for what is near, such as the end of a line.
//!
//! A call of `memchr` or `memcmp` for so few bytes costs more to begin than to do. The compiler
//! makes vector instructions of these loops over blocks, within their caller.

/// The number of bytes that are looked at together.
const BLOCK: usize = 16;

/// Returns the place of the first byte that is one of `wanted`.
#[inline]
pub(super) fn first_of<const N: usize>(wanted: [u8; N], text: &[u8]) -> Option<usize> {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        if wanted.iter().fold(false, |any, wanted| any | has(*wanted, block)) {
            return Some(index * BLOCK + first_within(wanted, block));
        }
    }
    let place = rest.iter().position(|byte| wanted.contains(byte))?;
    Some(text.len() - rest.len() + place)
}

/// Returns true if a block has the byte. It does not end early, as vector instructions do not.
#[inline]
fn has(wanted: u8, block: &[u8; BLOCK]) -> bool {
    let mut has = false;
    for byte in block {
        has |= *byte == wanted;
    }
    has
}

/// Returns the place of the first of the wanted bytes in a block that has one.
#[inline]
fn first_within<const N: usize>(wanted: [u8; N], block: &[u8; BLOCK]) -> usize {
    const EACH: u128 = u128::MAX / 0xff;
    let block = u128::from_le_bytes(*block);
    let found = wanted.iter().fold(0, |found, wanted| {
        // A byte that is wanted becomes 0. The lowest byte with its highest bit set in the result
        // was 0; those above it may be others.
        let rest = block ^ (EACH * u128::from(*wanted));
        found | rest.wrapping_sub(EACH) & !rest & (EACH << 7)
    });
    (found.trailing_zeros() / 8) as usize
}

/// Returns true if `text` begins with `prefix`. Its end is looked at first: the names of families
/// begin alike.
#[inline]
pub(super) fn begins_with(text: &[u8], prefix: &[u8]) -> bool {
    let (Some(text), Some((_, end))) =
        (text.get(..prefix.len()), prefix.split_last_chunk::<BLOCK>())
    else {
        return text.starts_with(prefix);
    };
    text.last_chunk() == Some(end) && {
        let blocks = text.as_chunks::<BLOCK>().0.iter().zip(prefix.as_chunks().0);
        blocks.into_iter().all(|(block, other)| block == other)
    }
}

/// Returns true if both texts are equal.
#[inline]
pub(super) fn is_equal(text: &[u8], other: &[u8]) -> bool {
    text.len() == other.len() && begins_with(text, other)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    proptest! {
        #[test]
        fn the_first_of_the_bytes_is_found(
            text in vec(select(&b"\n\x0b\x09{|\x8a\x00a\xff"[..]), 0..99),
            only in 0..99usize,
        ) {
            let without = |byte: &u8| if b"\n\t{".contains(byte) { byte + 1 } else { *byte };
            let mut late: Vec<u8> = text.iter().map(without).collect();
            if let (Some(byte), Some(from)) = (late.get_mut(only), text.get(only)) {
                *byte = *from;
            }
            for text in [text, late] {
                let place = |wanted: &[u8]| text.iter().position(|byte| wanted.contains(byte));
                prop_assert_eq!(first_of([b'\n'], &text), place(b"\n"));
                prop_assert_eq!(first_of([b'\n', b'{'], &text), place(b"\n{"));
                prop_assert_eq!(first_of([b'\n', b'{', b'\t'], &text), place(b"\n{\t"));
            }
        }

        #[test]
        fn a_prefix_is_equal_in_every_byte(
            text in "[ab]{0,70}",
            length in 0..70usize,
            at in 0..70usize,
        ) {
            let mut prefix = text.as_bytes()[..length.min(text.len())].to_vec();
            prop_assert!(begins_with(text.as_bytes(), &prefix));
            if let Some(byte) = prefix.get_mut(at) {
                *byte = b'c';
                prop_assert!(!begins_with(text.as_bytes(), &prefix));
            }
            prefix.resize(text.len() + 1, b'a');
            prop_assert!(!begins_with(text.as_bytes(), &prefix));
        }
    }
}
