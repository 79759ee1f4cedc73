//! Allocates addresses for pods in 127.0.0.0/8.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// The port of a kubelet. Listening on it claims a block of addresses.
const CLAIM_PORT: u16 = 10250;

/// Hands out addresses that no other testbed on this machine uses.
///
/// They come in blocks of 253, 127.x.y.2 to 127.x.y.254, drawn at random. Listening on
/// 127.x.y.1:10250 claims a block: another testbed that draws it cannot listen there and draws
/// again.
#[derive(Debug, Default)]
pub(super) struct AddressPool {
    claims: Vec<TcpListener>,
    free: VecDeque<Ipv4Addr>,
}

impl AddressPool {
    /// Takes the address that has been unused for the longest time.
    pub(super) fn take(&mut self) -> Result<Ipv4Addr> {
        if self.free.is_empty() {
            self.claim_block()?;
        }
        match self.free.pop_front() {
            Some(address) => Ok(address),
            None => bail!("no address left"),
        }
    }

    /// Gives an address back.
    pub(super) fn give_back(&mut self, address: Ipv4Addr) {
        self.free.push_back(address);
    }

    fn claim_block(&mut self) -> Result<()> {
        let mut last = None;
        for _ in 0..32 {
            let (x, y) = (fastrand::u8(1..=254), fastrand::u8(..));
            match TcpListener::bind((Ipv4Addr::new(127, x, y, 1), CLAIM_PORT)) {
                Ok(claim) => {
                    self.claims.push(claim);
                    self.free.extend((2..=254).map(|z| Ipv4Addr::new(127, x, y, z)));
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        bail!(
            "found no free block of addresses in 127.0.0.0/8 (all of it must be local, as on Linux): {last:?}"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn two_pools_share_no_address() {
        let mut pools = [AddressPool::default(), AddressPool::default()];
        let taken: HashSet<_> = (0..600).map(|n| pools[n % 2].take().unwrap()).collect();
        assert_eq!(taken.len(), 600);
    }

    #[test]
    fn a_returned_address_is_reused_last() {
        let mut pool = AddressPool::default();
        let first = pool.take().unwrap();
        pool.give_back(first);
        let again: Vec<_> = (0..253).map(|_| pool.take().unwrap()).collect();
        assert_eq!(again.iter().position(|a| *a == first), Some(252));
    }
}
