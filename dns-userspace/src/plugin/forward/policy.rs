//! In which order upstreams are tried.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rand::seq::SliceRandom as _;

/// The property `policy`.
#[derive(Debug, Default)]
pub enum Policy {
    /// Any order.
    #[default]
    Random,
    /// Each one first in its turn, the others in theirs.
    RoundRobin(AtomicUsize),
    /// The order of the file.
    Sequential,
}

impl Policy {
    /// The indices of `count` upstreams.
    pub fn order(&self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        match self {
            Policy::Random => order.shuffle(&mut rand::rng()),
            Policy::RoundRobin(turn) => {
                let first = (turn.fetch_add(1, Relaxed).wrapping_add(1)) % count;
                order[..=first].rotate_right(1);
            }
            Policy::Sequential => {}
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_decides() {
        assert_eq!(Policy::Sequential.order(3), [0, 1, 2]);
    }

    #[test]
    fn each_is_first_in_its_turn() {
        let policy = Policy::RoundRobin(AtomicUsize::new(0));
        for expected in [[1, 0, 2], [2, 0, 1], [0, 1, 2], [1, 0, 2]] {
            assert_eq!(policy.order(3), expected);
        }
    }

    #[test]
    fn any_order_comes() {
        let seen: std::collections::HashSet<_> =
            (0..1000).map(|_| Policy::Random.order(3)).collect();
        assert_eq!(seen.len(), 6);
    }
}
