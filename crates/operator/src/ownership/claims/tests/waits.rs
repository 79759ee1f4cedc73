//! Waits until an ownership is settled.

use std::{pin::Pin, task::Context, time::Duration};

use super::*;

const MANY: usize = 300;
/// The answer to one that is not woken and waits.
const WAITS: (bool, Poll<Ownership>) = (false, Poll::Pending);
/// The answer to one that is woken and has its target.
const WOKEN_OWNER: (bool, Poll<Ownership>) = (true, Poll::Ready(Ownership::Owner));

/// A wait, and the times that it was woken.
struct Waiter<'a> {
    settled: Pin<Box<dyn Future<Output = Ownership> + 'a>>,
    waker: Waker,
    wakes: Arc<Wakes>,
}

impl<'a> Waiter<'a> {
    fn new(guard: &'a ClaimGuard) -> Self {
        let (waker, count) = count_wakes();
        Self { settled: Box::pin(guard.settled_ownership()), waker, wakes: count }
    }

    fn poll(&mut self) -> Poll<Ownership> {
        self.settled.as_mut().poll(&mut Context::from_waker(&self.waker))
    }

    fn is_woken(&self) -> bool {
        self.wakes.0.swap(0, Ordering::Relaxed) > 0
    }
}

/// Returns the claims of a namespace in which this many autoscalers search, the oldest first.
fn all_searching(claims: &Claims, number: usize) -> Vec<ClaimGuard> {
    let ages = (0..number).zip(0..);
    ages.map(|(place, second)| guard(claims, "ns", &format!("a-{place}"), second)).collect()
}

/// Lets each autoscaler claim a target of its own.
fn claim_their_own(guards: &[ClaimGuard]) {
    for guard in guards {
        guard.claim(&guard.claimant.name, None);
    }
}

/// Returns whether each was woken since it was last asked, and the answer to it now.
fn answers<const N: usize>(waiters: &mut [Waiter; N]) -> [(bool, Poll<Ownership>); N] {
    waiters.each_mut().map(|waiter| (waiter.is_woken(), waiter.poll()))
}

/// Returns the number of claimants that wait in the namespace.
fn waiting(claims: &Claims) -> usize {
    claims.lock().namespaces["ns"].waiting()
}

/// Lets many autoscalers find targets of their own in this order, and each wait until it is settled
/// that it has its target. Returns how often any of them looked.
fn looks(order: impl Iterator<Item = usize>) -> usize {
    let claims = Claims::default();
    claims.complete_listing();
    let guards = all_searching(&claims, MANY);
    let (mut waiters, mut looks): (Vec<Waiter>, _) = (Vec::new(), 0);
    for place in order {
        guards[place].claim(&format!("t-{place}"), None);
        let its = Waiter::new(&guards[place]);
        its.waker.wake_by_ref();
        waiters.push(its);
        waiters.retain_mut(|waiter| {
            if !waiter.is_woken() {
                return true;
            }
            looks += 1;
            let answer = waiter.poll();
            assert!(matches!(answer, Poll::Pending | Poll::Ready(Ownership::Owner)), "{answer:?}");
            answer.is_pending()
        });
        assert_eq!(waiting(&claims), waiters.len());
    }
    assert_eq!(waiters.len(), 0);
    looks
}

/// Each of them used to look at each claim of the namespace.
#[test]
fn a_claim_wakes_only_those_that_it_settles() {
    assert_eq!(looks(0..MANY), MANY, "in the order of age");
    assert_eq!(looks((0..MANY).rev()), 2 * MANY - 1, "the youngest first");
    let mixed = looks((0..MANY).map(|place| place * 7 % MANY));
    assert!((MANY..2 * MANY).contains(&mixed), "{mixed}");
}

#[test]
fn a_target_that_is_taken_is_told_at_once_while_an_older_one_searches() {
    let claims = Claims::default();
    claims.complete_listing();
    let guards = all_searching(&claims, 5);
    let mut waiters = [(2, "t"), (3, "u")].map(|(place, uid)| {
        guards[place].claim(uid, None);
        Waiter::new(&guards[place])
    });
    assert_eq!(answers(&mut waiters), [WAITS, WAITS]);
    let taken_by = |name: &str| Ownership::TakenBy(name.to_owned());
    guards[4].claim("t", None);
    assert_eq!(guards[4].ownership(), taken_by("a-2"));
    guards[1].claim("t", None);
    assert_eq!(answers(&mut waiters), [(true, Poll::Ready(taken_by("a-1"))), WAITS]);
    assert_eq!(guards[4].ownership(), taken_by("a-1"), "the oldest of them");
}

#[test]
fn the_end_of_a_search_wakes_those_that_no_other_one_precedes() {
    let claims = Claims::default();
    claims.complete_listing();
    let mut guards = all_searching(&claims, 5);
    let last = guards.split_off(3);
    claim_their_own(&last);
    let mut first = guards.drain(..);
    let mut waiters = [&last[0], &last[1]].map(Waiter::new);
    assert_eq!(answers(&mut waiters), [WAITS, WAITS]);
    let [oldest, second, third] = [first.next(), first.next(), first.next()].map(Option::unwrap);
    second.release();
    assert_eq!(answers(&mut waiters), [WAITS, WAITS]);
    drop(oldest);
    assert_eq!(answers(&mut waiters), [WAITS, WAITS]);
    third.stand_beside("t");
    assert_eq!(answers(&mut waiters), [WOKEN_OWNER, WOKEN_OWNER]);
}

#[test]
fn the_first_listing_wakes_all() {
    let claims = Claims::default();
    let guards = all_searching(&claims, 2);
    claim_their_own(&guards);
    let mut waiters = [&guards[0], &guards[1]].map(Waiter::new);
    assert_eq!(answers(&mut waiters), [WAITS, WAITS]);
    guards[0].claim("another", None);
    assert_eq!(answers(&mut waiters), [(true, Poll::Pending), WAITS], "by its own claim");
    claims.complete_listing();
    assert_eq!(answers(&mut waiters), [WOKEN_OWNER, WOKEN_OWNER]);
}

/// The step ends its wait after a while.
#[test]
fn a_wait_that_is_dropped_leaves_nothing_behind() {
    let claims = Claims::default();
    claims.complete_listing();
    let mut guards = all_searching(&claims, 2);
    guards[1].claim("t", None);
    let [mut dropped, mut kept] = [0, 1].map(|_| [Waiter::new(&guards[1])]);
    assert_eq!((answers(&mut dropped), answers(&mut kept)), ([WAITS], [WAITS]));
    assert_eq!(waiting(&claims), 1);
    drop(dropped);
    assert_eq!(waiting(&claims), 1, "another one waits for the same");
    guards[0].release();
    assert_eq!(answers(&mut kept), [WOKEN_OWNER]);
    assert_eq!(waiting(&claims), 0);
    drop(kept);
    guards.clear();
    assert!(claims.lock().namespaces.is_empty());
}

/// A wake-up that is lost would leave one waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::disallowed_methods, reason = "a panic fails the test")]
async fn all_are_settled_when_they_find_their_targets_on_many_threads() {
    for round in 0..20 {
        let claims = Claims::default();
        let find = |(place, guard): (usize, ClaimGuard)| async move {
            // Two find each target.
            guard.claim(&format!("t-{}", place / 2), None);
            let settled = guard.settled_ownership();
            let answer = tokio::time::timeout(Duration::from_secs(20), settled).await;
            (guard, place, answer)
        };
        let mut guards: Vec<_> = all_searching(&claims, MANY).into_iter().enumerate().collect();
        guards.rotate_left(round * 13);
        let tasks: Vec<_> = guards.into_iter().map(|it| tokio::spawn(find(it))).collect();
        claims.complete_listing();
        let mut settled = Vec::new();
        for task in tasks {
            settled.push(task.await.unwrap());
        }
        for (_guard, place, answer) in &settled {
            let expected = match place % 2 {
                0 => Ownership::Owner,
                _ => Ownership::TakenBy(format!("a-{}", place - 1)),
            };
            assert_eq!(answer.as_ref(), Ok(&expected), "{place} in round {round}");
        }
        assert_eq!(waiting(&claims), 0);
    }
}
