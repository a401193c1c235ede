//! Hostile packets: valid queries, changed at random, through both loaded programs. What passes comes out
//! byte for byte as it went in; what is answered is a message that a DNS library accepts, and answers the question
//! that was asked; nothing else happens to a packet.

use std::{env, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use hickory_proto::{
    op::{Message, MessageType},
    rr::RData,
};
use hopzero_tests::{
    harness,
    packets::{
        answers,
        build::{DNS_V4, DNS_V6, L3, fix_v4_checksum},
        kernel::{Loaded, Program},
        passes, world,
    },
};
use libtest_mimic::{Failed, Trial};

/// Packets, if `HOPZERO_HOSTILE_PACKETS` does not say; each goes through both programs.
const PACKETS: u64 = 200_000;
/// `BPF_PROG_TEST_RUN` takes no packet that is shorter.
const PACKET_BYTES_MIN: usize = 14;
/// The same for tc: a whole IPv6 header.
const TC_PACKET_BYTES_MIN: usize = 54;
const PACKET_BYTES_MAX: usize = 2000;
const ANSWER_BYTES_MAX: usize = 1232;
const NAME: &str = "what passes is unchanged, what is answered answers";

fn main() -> ExitCode {
    let trial = || {
        Trial::test(NAME, || {
            run().map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    harness::run(|| Ok(vec![trial()]), &[NAME.to_owned()])
}

fn run() -> Result<()> {
    let packets = match env::var("HOPZERO_HOSTILE_PACKETS") {
        Ok(packets) => packets.parse().context("HOPZERO_HOSTILE_PACKETS")?,
        Err(_) => PACKETS,
    };
    // Twice the answered ones: a change of those is what comes furthest.
    let valid = || answers::cases(world::zone()).into_iter();
    let seeds: Vec<Vec<u8>> = (passes::cases().into_iter().chain(valid()).chain(valid()))
        .map(|case| case.packet)
        .filter(|packet| (PACKET_BYTES_MIN..PACKET_BYTES_MAX).contains(&packet.len()))
        .collect();
    let mut loaded = Loaded::new(&world::zone())?;
    let mut random = Random(1);
    let mut out = vec![0; 4096];
    let (mut runs, mut answered) = (0_u64, 0_u64);
    for index in 0..packets {
        let packet = mutate(&seeds, &mut random);
        for program in [Program::Xdp, Program::Tc] {
            if program == Program::Tc && packet.len() < TC_PACKET_BYTES_MIN {
                continue;
            }
            let (action, len) = loaded
                .run_raw(program, &packet, &mut out)
                .with_context(|| format!("packet {index}: {}", hex(&packet)))?;
            runs += 1;
            let verdict = match (program, action) {
                (Program::Xdp, 3) | (Program::Tc, 7) => {
                    answered += 1;
                    is_answer(&packet, &out[..len])
                }
                (Program::Xdp, 2) | (Program::Tc, u32::MAX) if out[..len] == packet => Ok(()),
                (Program::Xdp, 2) | (Program::Tc, u32::MAX) => {
                    Err(anyhow::anyhow!("passed as {}", hex(&out[..len])))
                }
                _ => Err(anyhow::anyhow!("action {action}")),
            };
            verdict.with_context(|| format!("packet {index}, {program:?}: {}", hex(&packet)))?;
        }
    }
    println!("{packets} packets, {runs} runs: {answered} answered, the others passed unchanged");
    ensure!(answered * 20 >= runs, "only {answered} were answered");
    Ok(())
}

/// The reply of a packet parses, and is one to the question.
fn is_answer(packet: &[u8], reply: &[u8]) -> Result<()> {
    let dns = if packet[12] == 0x08 { DNS_V4 } else { DNS_V6 };
    let (query, reply) = (&packet[dns..], reply.get(dns..).context("no message")?);
    ensure!(reply.len() <= ANSWER_BYTES_MAX, "{} bytes", reply.len());
    ensure!(query[..2] == reply[..2], "another ID");
    let name = (query[12..].iter().position(|byte| *byte == 0)).context("an endless name")?;
    let question = 12..12 + name + 5;
    ensure!(
        reply.get(question.clone()) == Some(&query[question]),
        "another question"
    );
    let message =
        Message::from_vec(reply).with_context(|| format!("unreadable: {}", hex(reply)))?;
    ensure!(
        message.metadata.message_type == MessageType::Response && message.queries.len() == 1,
        "not a response"
    );
    // A CNAME leads on to its target.
    let mut asked = message.queries[0].name();
    for record in &message.answers {
        ensure!(
            record.name == *asked,
            "a record of {}, asked for {asked}",
            record.name
        );
        if let RData::CNAME(target) = &record.data {
            asked = &target.0;
        }
    }
    Ok(())
}

fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut packet = seeds[random.below(seeds.len())].clone();
    // Most changes in the message: those before it are soon passed.
    let message = if packet.len() > DNS_V6 && random.below(8) > 0 {
        DNS_V4
    } else {
        0
    };
    for _ in 0..random.below(4) {
        let at = message + random.below(packet.len() - message);
        match random.below(6) {
            0 => packet[at] ^= 1 << random.below(8),
            1 => packet[at] = u8::try_from(random.below(256)).expect("a byte"),
            2 => packet[at] ^= 0x20,
            3 => packet[at] = [0, 1, 63, 64, 0xc0, 0xff][random.below(6)],
            4 => packet.truncate(at.max(PACKET_BYTES_MIN)),
            _ => packet.insert(at, 0),
        }
        if packet.len() <= message {
            break;
        }
    }
    if random.below(2) == 0 {
        agree_on_lengths(&mut packet);
    }
    packet
}

/// Makes the headers' lengths those of the packet, so that the change reaches the parser of messages.
fn agree_on_lengths(packet: &mut [u8]) {
    let Ok(len) = u16::try_from(packet.len()) else {
        return;
    };
    if packet.len() >= DNS_V4 && packet[12..15] == [0x08, 0x00, 0x45] {
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

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
