//! Changes of packets at random.

use hopzero_tests::packets::build::{DNS_V4, DNS_V6, L3, fix_v4_checksum};

/// `BPF_PROG_TEST_RUN` takes no packet that is shorter.
const PACKET_BYTES_MIN: usize = 14;
const PACKET_BYTES_MAX: usize = 2000;
/// The most changes of one packet.
const CHANGES_MAX: usize = 4;
/// Bytes that mean something somewhere: ends, lengths, pointers, types.
const BYTES: [u8; 12] = [0, 1, 5, 10, 16, 28, 33, 41, 63, 64, 0xc0, 0xff];

/// Makes packets out of seeds.
pub struct Mutator {
    seeds: Vec<Vec<u8>>,
    random: Random,
}

impl Mutator {
    pub fn new(seeds: Vec<Vec<u8>>, seed: u64) -> Self {
        let fits = |packet: &Vec<u8>| (PACKET_BYTES_MIN..PACKET_BYTES_MAX).contains(&packet.len());
        Self {
            seeds: seeds.into_iter().filter(fits).collect(),
            random: Random(seed),
        }
    }

    pub fn packet(&mut self) -> Vec<u8> {
        let Self { seeds, random } = self;
        let mut packet = seeds[random.below(seeds.len())].clone();
        // Most changes in the message: those before it are soon passed.
        let message = if packet.len() > DNS_V6 && random.below(8) > 0 {
            message_at(&packet)
        } else {
            0
        };
        for _ in 0..random.below(CHANGES_MAX) {
            if packet.len() <= message {
                break;
            }
            let at = message + random.below(packet.len() - message);
            match random.below(8) {
                0 => packet[at] ^= 1 << random.below(8),
                1 => packet[at] = u8::try_from(random.below(256)).expect("a byte"),
                2 => packet[at] ^= 0x20,
                3 => packet[at] = BYTES[random.below(BYTES.len())],
                4 => packet.truncate(at.max(PACKET_BYTES_MIN)),
                5 => packet.insert(at, 0),
                6 => cross(&mut packet, &seeds[random.below(seeds.len())], random),
                _ => retype(&mut packet, random),
            }
        }
        packet.truncate(PACKET_BYTES_MAX);
        if random.below(4) > 0 {
            agree_on_lengths(&mut packet);
        }
        packet
    }
}

fn is_v4(packet: &[u8]) -> bool {
    packet.get(12..14) == Some(&[0x08, 0x00])
}

fn message_at(packet: &[u8]) -> usize {
    if is_v4(packet) { DNS_V4 } else { DNS_V6 }
}

/// Goes on as another packet does from somewhere in its message: its OPT behind this question, its name
/// behind these labels.
fn cross(packet: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let (here, there) = (message_at(packet), message_at(other));
    if packet.len() > here && other.len() > there {
        let from = random.below(other.len() - there);
        let to = if random.below(2) == 0 {
            from
        } else {
            random.below(packet.len() - here)
        };
        packet.truncate(here + to);
        packet.extend_from_slice(&other[there + from..]);
    }
}

/// Asks for another type, if there is a question.
fn retype(packet: &mut [u8], random: &mut Random) {
    let name = (message_at(packet) + 12).min(packet.len());
    let end = packet[name..].iter().position(|byte| *byte == 0);
    if let Some(qtype) = end.and_then(|end| packet.get_mut(name + end + 2)) {
        *qtype = BYTES[random.below(BYTES.len())];
    }
}

/// Makes the headers' lengths those of the packet, so that the change reaches the parser of messages.
fn agree_on_lengths(packet: &mut [u8]) {
    let len = u16::try_from(packet.len()).expect("at most PACKET_BYTES_MAX");
    if packet.len() >= DNS_V4 && is_v4(packet) && packet[L3] == 0x45 {
        packet[L3 + 2..L3 + 4].copy_from_slice(&(len - 14).to_be_bytes());
        packet[L3 + 24..L3 + 26].copy_from_slice(&(len - 34).to_be_bytes());
        fix_v4_checksum(packet);
    } else if packet.len() >= DNS_V6 && packet[12..14] == [0x86, 0xdd] {
        let udp = (len - 54).to_be_bytes();
        packet[L3 + 4..L3 + 6].copy_from_slice(&udp);
        packet[L3 + 44..L3 + 46].copy_from_slice(&udp);
    }
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound).expect("64 bits");
        usize::try_from((value ^ value >> 31) % bound).expect("smaller than the bound")
    }
}
