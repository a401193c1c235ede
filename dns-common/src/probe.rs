//! The self-test of a device: what the daemon tells the two programs that make it, and what they saw.
//!
//! ```text
//! hopzero_probe_send   puts the daemon's query into the device's ingress, as if the pod had sent it
//! hopzero_tc, _xdp     answer it, as any other
//! hopzero_probe        stands at the device's egress, notes the answer, and takes it: no pod ever sees it
//! ```
//!
//! The frames of a test are known by their link-layer address, which no other host has: the query comes from it, and
//! the answer goes to it.

/// What a test is about. The daemon writes the first two words before, and reads the others after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Probe {
    /// The link-layer address in the lower six bytes, as they stand in a frame; 0: there is no test.
    pub mac: u64,
    /// Where the message begins in the frame, bytes.
    pub message: u64,
    /// What has gone out: [`SEEN`] and the first four bytes of the message.
    pub answered: u64,
    /// What was still a query behind our program: the same.
    pub passed: u64,
}

/// A frame was seen. In the lower half are ID and flags of its message, as they stand there.
pub const SEEN: u64 = 1 << 63;

const _: () = assert!(size_of::<Probe>() == 32 && align_of::<Probe>() == 8);

/// Which of the two a frame of a test is, by its first 14 bytes in two words that overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the test's address.
    Answer,
    /// From it.
    Query,
}

/// Judges a frame by the word at its beginning and the one six bytes later; `mac` is [`Probe::mac`].
#[inline(always)]
pub const fn direction(mac: u64, destination: u64, source: u64) -> Option<Direction> {
    // The upper two bytes of each word are something else's.
    let mac = mac << 16;
    if mac == 0 {
        None
    } else if destination << 16 == mac {
        Some(Direction::Answer)
    } else if source << 16 == mac {
        Some(Direction::Query)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_test_are_known_by_its_address() {
        let mac = 0x0605_0403_0202;
        let (ours, other) = (0xaaaa_0605_0403_0202, 0xaaaa_0605_0403_0203);
        assert_eq!(direction(mac, ours, other), Some(Direction::Answer));
        assert_eq!(direction(mac, other, ours), Some(Direction::Query));
        assert_eq!(direction(mac, other, other), None);
        assert_eq!(direction(0, 0, 0), None);
    }
}
