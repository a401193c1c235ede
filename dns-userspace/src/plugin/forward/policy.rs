//! In which order upstreams are tried.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rand::seq::SliceRandom as _;

/// Upstreams of one directive.
pub const UPSTREAMS_MAX: usize = 15;

/// Indices of all upstreams, each once.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    indices: [u8; UPSTREAMS_MAX],
    count: usize,
}

impl Order {
    /// The upstream that is asked first.
    pub fn first(&self) -> usize {
        self.indices[0].into()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = usize> + Clone {
        let indices = self.indices.into_iter().take(self.count);
        indices.map(usize::from)
    }
}

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
    /// The order of `count` upstreams, at most [`UPSTREAMS_MAX`].
    pub fn order(&self, count: usize) -> Order {
        let mut indices = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
        let order = &mut indices[..count];
        match self {
            Policy::Random if count > 1 => order.shuffle(&mut rand::rng()),
            Policy::Random | Policy::Sequential => {}
            Policy::RoundRobin(turn) => {
                let first = (turn.fetch_add(1, Relaxed).wrapping_add(1)) % count;
                order[..=first].rotate_right(1);
            }
        }
        Order { indices, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(policy: &Policy) -> Vec<usize> {
        policy.order(3).iter().collect()
    }

    #[test]
    fn the_file_decides() {
        assert_eq!(order(&Policy::Sequential), [0, 1, 2]);
    }

    #[test]
    fn each_is_first_in_its_turn() {
        let policy = Policy::RoundRobin(AtomicUsize::new(0));
        for expected in [[1, 0, 2], [2, 0, 1], [0, 1, 2], [1, 0, 2]] {
            assert_eq!(order(&policy), expected);
        }
    }

    #[test]
    fn any_order_comes() {
        let seen: std::collections::HashSet<_> =
            (0..1000).map(|_| order(&Policy::Random)).collect();
        assert_eq!(seen.len(), 6);
    }
}
