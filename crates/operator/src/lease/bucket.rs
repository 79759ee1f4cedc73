//! The division of namespaces into buckets.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Returns the bucket of a namespace: its FNV-1a hash of 64 bits, modulo the number of buckets.
///
/// All versions of the operator compute it alike: two copies that differ would both write to the
/// same namespace during an update.
pub(super) fn bucket(namespace: &str, buckets: usize) -> usize {
    let hash =
        namespace.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let buckets = u64::try_from(buckets.max(1)).unwrap_or(1);
    usize::try_from(hash % buckets).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These values are fixed for ever. The hashes are those of the published test vectors of
    /// FNV-1a for "", "a" and "foobar".
    #[test]
    fn the_bucket_of_a_namespace_never_changes() {
        // the namespace, its bucket of 1, 2, 4 and 16
        let table = [
            ("", [0, 1, 1, 5]),
            ("a", [0, 0, 0, 12]),
            ("foobar", [0, 0, 0, 8]),
            ("default", [0, 0, 2, 14]),
            ("team-a", [0, 0, 2, 6]),
            ("team-b", [0, 1, 3, 3]),
        ];
        for (namespace, expected) in table {
            let buckets = [1, 2, 4, 16].map(|buckets| bucket(namespace, buckets));
            assert_eq!(buckets, expected, "{namespace}");
        }
        assert_eq!(bucket("a", 0), 0);
    }

    #[test]
    fn namespaces_are_spread_over_the_buckets() {
        let mut counts = [0; 8];
        (0..8_000).for_each(|number| counts[bucket(&format!("team-{number}"), 8)] += 1);
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
