//! What hopzero's kernel programs and its daemon share: the layout of the maps, the packet parser,
//! the lookup and the answer writer.
//!
//! Everything here is `no_std`, allocates nothing, and is a pure function over bytes. It is compiled
//! twice: for `bpfel-unknown-none`, where the verifier proves that it stays in bounds, and for the
//! host, where it is tested, property-tested and fuzzed. [`respond::respond`] is the whole program; the entry
//! points in `dns-ebpf` only hand it a packet and the maps.
//!
//! | module | concept |
//! |---|---|
//! | [`limits`] | every limit, with its unit |
//! | [`reason`] | why a packet was answered or passed: return value, counter index, metric label |
//! | [`counter`] | where a packet is counted, and what that place says |
//! | [`layout`] | the types in the maps, and why they look as they do |
//! | [`record`] | the encoder of a record, and its check |
//! | [`packet`] | bounded access to packet bytes |
//! | [`frame`] | Ethernet, IPv4, IPv6, UDP: is this a query to us? |
//! | [`message`] | the DNS header, question and OPT |
//! | [`name`] | a name as eight-byte words: folded, hashed |
//! | [`lookup`] | from a name to a verified copy of its record |
//! | [`negative`] | NODATA and NXDOMAIN, and when they are proved |
//! | [`limit`] | how many answers a network may be sent |
//! | [`answer`] | writes the answer over the query |
//! | [`respond`] | all of it in order |
//! | [`probe`] | the self-test of a device |
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![allow(
    clippy::inline_always,
    reason = "a BPF function that takes more than five arguments or returns a structure must be inlined"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_lossless,
    reason = "words are cut to their fields on purpose, and the bounds stand beside them"
)]

#[cfg(not(target_endian = "little"))]
compile_error!("names are folded and compared as little-endian words; bpfel and its hosts only");

pub mod answer;
pub mod checksum;
pub mod counter;
pub mod frame;
pub mod layout;
pub mod limit;
pub mod limits;
pub mod lookup;
pub mod message;
pub mod name;
pub mod negative;
pub mod packet;
pub mod probe;
pub mod reason;
pub mod record;
pub mod respond;
pub mod word;
