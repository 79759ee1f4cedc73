//! The shares of the copies: which Leases a copy wishes for, and which it gives away. Pure.
//!
//! Each copy sees the holders of all Leases. One that holds at least two fewer than another writes
//! a wish on one of the other's Leases, and the other gives it away if it still holds two more. So
//! each Lease that changes hands makes the shares more even: the sum of their squares falls, and
//! it ends when no two differ by more than one.

use std::collections::BTreeMap;

/// The least difference between two shares that is evened out. By one of less, Leases would go to
/// and fro.
pub(super) const DIFFERENCE: usize = 2;

/// The Lease of one bucket, as a copy sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share<'a> {
    /// The identity of its holder; empty if there is none.
    pub holder: &'a str,
    /// The identity of the copy that wishes for it; empty if none does.
    pub wanted_by: &'a str,
    /// The wish has stood for so long that its holder does not know of wishes, or is gone.
    pub is_outlived: bool,
    /// Its holder gives it away.
    pub is_given: bool,
}

impl<'a> Share<'a> {
    /// Returns the copy that will hold it, if the wish for it is granted.
    fn heir(self) -> &'a str {
        if self.wanted_by.is_empty() || self.is_outlived { self.holder } else { self.wanted_by }
    }
}

/// Returns true if `me` is to wish for the Lease of `bucket`: no wish of its own stands, and it
/// holds at least `difference` fewer than the holder, which is one of those that hold the most. A
/// holder that has outlived a wish is not asked again. What others wish for counts as given.
pub(super) fn may_wish(shares: &[Share], me: &str, bucket: usize, difference: usize) -> bool {
    let Some(wanted) = shares.get(bucket) else { return false };
    let stands = |share: &Share| share.holder != me && share.heir() == me;
    let can_be = wanted.wanted_by.is_empty() && !wanted.holder.is_empty() && wanted.holder != me;
    if !can_be || shares.iter().any(stands) {
        return false;
    }
    let counts = counts(shares.iter().map(|share| share.heir()));
    let count = |copy: &str| counts.get(copy).copied().unwrap_or_default();
    let is_deaf = |copy: &str| shares.iter().any(|share| share.is_outlived && share.holder == copy);
    let others = counts.iter().filter(|(copy, _)| **copy != me && !is_deaf(copy));
    let most = others.map(|(_, count)| *count).max().unwrap_or_default();
    let mine = shares.iter().filter(|share| share.holder == me).count();
    !is_deaf(wanted.holder) && count(wanted.holder) == most && most >= mine + difference
}

/// Returns true if `me` is to give the Lease of `bucket` to the copy that wishes for it, which
/// holds at least `difference` fewer. Of several wishes those for earlier buckets come first. What
/// the others hold counts as theirs, and what they wish for of others too.
pub(super) fn may_give(shares: &[Share], me: &str, bucket: usize, difference: usize) -> bool {
    let is_asked =
        |share: &Share| share.holder == me && !share.wanted_by.is_empty() && share.wanted_by != me;
    let is_open = |share: &&Share| is_asked(share) && !share.is_given;
    let is_kept = |share: &&Share| share.holder == me && !(is_asked(share) && share.is_given);
    let mut mine = shares.iter().filter(is_kept).count();
    let heirs = shares.iter().filter(|share| !is_open(share)).map(|share| share.heir());
    let is_others = |share: &&Share| share.holder != me && share.heir() != share.holder;
    let holders = shares.iter().filter(is_others).map(|share| share.holder);
    let mut theirs = counts(heirs.chain(holders));
    for (number, share) in shares.iter().enumerate().filter(|(_, share)| is_open(share)) {
        let count = theirs.entry(share.wanted_by).or_default();
        let gives = mine >= *count + difference;
        if number == bucket {
            return gives;
        }
        (mine, *count) = (mine - usize::from(gives), *count + usize::from(gives));
    }
    false
}

/// Returns how often each copy is named.
fn counts<'a>(copies: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for copy in copies.filter(|copy| !copy.is_empty()) {
        *counts.entry(copy).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// Reads shares: the holder of each bucket, with the wish behind a sign: `a<b` is a's and b
    /// wishes for it, `a!b` has outlived that wish, `a>b` is given to b, `>b` was.
    fn shares(text: &str) -> Vec<Share<'_>> {
        let share = |word| {
            let parts = str::split_once(word, ['<', '!', '>']);
            let (holder, wanted_by) = parts.unwrap_or((word, ""));
            let holder = if holder == "-" { "" } else { holder };
            let (is_outlived, is_given) = (word.contains('!'), word.contains('>'));
            Share { holder, wanted_by, is_outlived, is_given }
        };
        text.split(' ').map(share).collect()
    }

    fn which(shares: &[Share], is_so: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..shares.len()).filter(|bucket| is_so(*bucket)).collect()
    }

    #[test]
    fn a_copy_wishes_for_a_lease_of_those_that_hold_the_most() {
        // the shares, the buckets that c may wish for
        let table: [(&str, &[usize]); 16] = [
            ("a a a", &[0, 1, 2]),
            ("a a", &[0, 1]),
            ("a", &[]),
            ("a b", &[]),
            ("a a b", &[0, 1]),
            ("a a b b", &[0, 1, 2, 3]),
            ("a a a b b", &[0, 1, 2]),
            ("a a c", &[]),
            ("a a a c", &[0, 1, 2]),
            // Wishes that stand count as granted, and no copy has two of them.
            ("a<b a a", &[1, 2]),
            ("a<b a", &[]),
            ("a<c a a a a", &[]),
            (">c a a a a", &[]),
            // Without a holder it is taken anyway.
            ("- a a", &[1, 2]),
            // A holder of an older version does not know of wishes.
            ("a!c a a a b b", &[4, 5]),
            ("a!b a a a a", &[]),
        ];
        for (text, expected) in table {
            let shares = shares(text);
            let found = which(&shares, |bucket| may_wish(&shares, "c", bucket, DIFFERENCE));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_copy_gives_to_one_that_holds_at_least_two_fewer() {
        // the shares, the buckets that a gives
        let table: [(&str, &[usize]); 12] = [
            ("a<b a", &[0]),
            ("a<b", &[]),
            ("a<b a b", &[]),
            ("a<b a a b", &[0]),
            // Each Lease that is given away counts for the next wish.
            ("a<b a<c", &[0]),
            ("a<b a<c a", &[0, 1]),
            ("a>b a<c a", &[1]),
            ("a>b a<c", &[]),
            (">b a<b a a", &[1]),
            (">b >b a<b a a", &[]),
            // Its own, another's, and one of a copy that may have died.
            ("a<a a a", &[]),
            ("b<c b b a a a", &[]),
        ];
        for (text, expected) in table {
            let shares = shares(text);
            let found = which(&shares, |bucket| may_give(&shares, "a", bucket, DIFFERENCE));
            assert_eq!(found, expected, "{text}");
        }
    }

    const COPIES: [&str; 5] = ["a", "b", "c", "d", "e"];

    /// Copies that act one after another, in any order, and see everything.
    struct Model<'a> {
        shares: Vec<Share<'a>>,
        copies: &'a [&'a str],
    }

    impl Model<'_> {
        fn held(&self) -> Vec<usize> {
            let held = |copy: &&str| self.shares.iter().filter(|it| it.holder == *copy).count();
            self.copies.iter().map(held).collect()
        }

        /// Returns all that may happen now: the bucket, and the copy that acts.
        fn acts(&self) -> Vec<(usize, usize)> {
            let copies = 0..self.copies.len();
            let pairs = copies.flat_map(|copy| (0..self.shares.len()).map(move |it| (it, copy)));
            pairs.filter(|(bucket, copy)| self.may_act(*bucket, *copy)).collect()
        }

        fn may_act(&self, bucket: usize, copy: usize) -> bool {
            let (share, me) = (self.shares[bucket], self.copies[copy]);
            let is_answered = share.holder == me && !share.wanted_by.is_empty();
            is_answered || may_wish(&self.shares, me, bucket, DIFFERENCE)
        }

        /// Returns true if a Lease has changed hands.
        fn act(&mut self, bucket: usize, copy: usize) -> bool {
            let me = self.copies[copy];
            let gives = may_give(&self.shares, me, bucket, DIFFERENCE);
            let share = &mut self.shares[bucket];
            let wanted_by = std::mem::take(&mut share.wanted_by);
            if share.holder != me {
                share.wanted_by = me;
            } else if gives {
                share.holder = wanted_by;
            }
            gives
        }
    }

    #[test]
    fn any_division_becomes_even_in_any_order_and_no_lease_goes_to_and_fro() {
        let rng = &mut Rng::with_seed(7);
        let (mut given, mut refused) = (0, 0);
        for round in 0..3_000 {
            let copies = &COPIES[..rng.usize(1..=COPIES.len())];
            let present = copies.len().min(rng.usize(1..6));
            let holder = |rng: &mut Rng| copies[rng.usize(0..present)];
            let share = |rng: &mut Rng| Share { holder: holder(rng), ..Share::default() };
            let shares = (0..rng.usize(1..20)).map(|_| share(rng)).collect();
            let mut model = Model { shares, copies };
            let squares = |model: &Model| model.held().iter().map(|held| held * held).sum();
            let mut before: usize = squares(&model);
            for act in 0.. {
                let acts = model.acts();
                let Some((bucket, copy)) = rng.choice(acts).filter(|_| act < 1_000) else { break };
                let is_answer = model.shares[bucket].holder == copies[copy];
                if model.act(bucket, copy) {
                    given += 1;
                    assert!(squares(&model) < before, "round {round}: {:?}", model.held());
                    before = squares(&model);
                } else {
                    refused += usize::from(is_answer);
                }
            }
            let held = model.held();
            let (most, least) = (held.iter().max().unwrap(), held.iter().min().unwrap());
            assert!(most - least <= 1 && model.acts().is_empty(), "round {round}: {held:?}");
        }
        assert!(given > 1_000 && refused > 10, "{given} given, {refused} refused");
    }
}
