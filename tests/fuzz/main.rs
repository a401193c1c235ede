//! The whole program on the host under libFuzzer, which looks for inputs that reach new code:
//! `cargo xtask fuzz`.
//!
//! The first byte of an input says what the others are: a message, over one family or the other, or
//! a whole frame; and how many bytes follow it, as padding does in a short frame. What must hold is
//! what the [`Oracle`] says, and that bytes around the packet do not matter.
#![no_main]

use std::{env, fs, path::Path};

use hopzero_common::frame::LinkLayer;
use hopzero_tests::packets::{
    answers,
    build::{DNS_V4, DNS_V6, v4, v6},
    host::Host,
    oracle::Oracle,
    passes, world,
};
use libfuzzer_sys::fuzz_target;

const OVER_V4: u8 = 0;
const OVER_V6: u8 = 1;
/// This one and what is left of two bits.
const FRAME: u8 = 2;
const KIND: u8 = 3;
/// The longest message or frame that is tried; the host has room for 2048 bytes.
const BYTES_MAX: usize = 1900;

thread_local! {
    static HOST: Host = Host::new(&world::zone());
    static ORACLE: Oracle = Oracle::new(world::zone());
}

fuzz_target!(
    init: write_seeds(),
    |input: &[u8]| {
        let Some((head, bytes)) = input.split_first() else {
            return;
        };
        let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
        let mut packet = match head & KIND {
            OVER_V4 => v4(bytes),
            OVER_V6 => v6(bytes),
            _ => bytes.to_vec(),
        };
        packet.resize(packet.len() + usize::from(head >> 2), 0x77);
        let outcome = HOST.with(|host| host.run(&packet));
        if let Err(error) = ORACLE.with(|oracle| oracle.judge(&packet, &outcome)) {
            panic!("{error}");
        }
        let between = HOST.with(|host| host.run_between(&packet, LinkLayer::Unknown, None, 0));
        assert_eq!(outcome, between, "bytes outside of the packet matter");
    }
);

/// The tables' packets, into the directory `HOPZERO_FUZZ_SEEDS`: what libFuzzer starts from.
fn write_seeds() {
    let Some(directory) = env::var_os("HOPZERO_FUZZ_SEEDS") else {
        return;
    };
    let answers = answers::cases(world::zone());
    let packets = (passes::cases().into_iter().chain(answers)).map(|case| case.packet);
    for (index, packet) in packets.enumerate() {
        let (head, bytes) = match packet.get(12..14) {
            // As a message where it is one, so that a change of its length leaves it one.
            Some([0x08, 0x00]) if v4(tail(&packet, DNS_V4)) == packet => {
                (OVER_V4, tail(&packet, DNS_V4))
            }
            Some([0x86, 0xdd]) if v6(tail(&packet, DNS_V6)) == packet => {
                (OVER_V6, tail(&packet, DNS_V6))
            }
            _ => (FRAME, &packet[..]),
        };
        let file = Path::new(&directory).join(format!("seed-{index}"));
        fs::write(&file, [&[head], bytes].concat()).expect("the directory of seeds");
    }
}

fn tail(packet: &[u8], from: usize) -> &[u8] {
    packet.get(from..).unwrap_or_default()
}
