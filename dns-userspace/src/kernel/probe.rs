//! The self-test of a device: a real query is sent through it, and must come back.
//!
//! ```text
//!           ┌─ hopzero_probe_send ─ dev_forward_skb ─▶ backlog ─▶ XDP generic ─▶ tc ingress ─▶ hopzero_tc ─┐
//! daemon ──▶│                                                                                             │ answer
//!           └─ hopzero_probe (taken there) ◀──────────────────────────────── tc egress ◀─ bpf_redirect ◀──┘
//! ```
//!
//! The query enters where what a pod sends enters: by the function with which a veth hands a packet over to its other end. So it
//! meets whatever stands at the device's ingress, in its order, and the answer goes the way of all answers, through the
//! stack to the device's egress, where it is taken: no pod sees it. What this does not show: that the pod's end takes it, and what
//! others do at egress behind that place. `XDP_TX` of XDP in the stack goes past tc; there it counts that the query did not
//! come out behind the program, and that the device has sent a packet. XDP in a driver cannot be tested so: a driver's
//! receive path begins at its hardware.
//!
//! Should the query be passed, or taken by somebody else, it gets no further than the stack's first look: its IPv4
//! header has a wrong checksum (over IPv6 the UDP header has none). The programs do not look at either.

mod query;
mod takers;

use std::{
    io,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use aya::{Ebpf, TestRun as _, TestRunOptions, programs::SchedClassifier};
use hopzero_common::probe::SEEN;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};

pub(super) use query::Questions;
use query::{Frame, message_at};
use takers::Takers;

use super::{KernelError, Mode, attach, error::chain, links::Link, netlink};
use crate::publisher::memory::Words;

/// Sends the query.
const SEND: &str = "hopzero_probe_send";
/// Takes it, and the answer.
pub(super) const TAKE: &str = "hopzero_probe";
/// How long the answer may take. It is there before the system call that sends the query returns, unless another CPU
/// works off the backlog.
const ANSWERED_WITHIN: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(1);

/// Words of `hopzero_common::probe::Probe`.
const MAC: usize = 0;
const MESSAGE: usize = 1;
const ANSWERED: usize = 2;
const PASSED: usize = 3;
/// How many there are.
pub(super) const WORDS: usize = 4;

const TC_ACT_REDIRECT: u32 = 7;
/// Offset of `ifindex` in the context of a tc program (`struct __sk_buff`), and the bytes up to its end.
const CONTEXT_DEVICE: usize = 40;
const CONTEXT_BYTES: usize = 44;
/// QR and TC in the second byte of a message's flags word.
const IS_ANSWER: u8 = 0x80;
const IS_TRUNCATED: u8 = 0x02;

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer came back.
    Answered,
    /// It did not, and why as far as that was seen.
    Lost(&'static str),
    /// It was not made.
    Untested(&'static str),
}

/// Loads the programs of a test.
///
/// # Errors
/// What the verifier says.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    for name in [attach::TC, SEND, TAKE] {
        attach::loaded(ebpf, name, SchedClassifier::load)?;
    }
    Ok(())
}

/// Makes tests.
pub(super) struct Prober {
    words: Words,
    mac: [u8; 6],
    last_id: u16,
}

impl Prober {
    pub(super) fn new(words: Words) -> Self {
        let mut mac = [0; 6];
        fastrand::fill(&mut mac);
        // Locally administered, of one station (IEEE 802).
        mac[0] = mac[0] & 0xfc | 2;
        Prober {
            words,
            mac,
            last_id: fastrand::u16(..),
        }
    }

    /// Tests what is attached to a device.
    ///
    /// # Errors
    /// A program of the test cannot be loaded.
    pub(super) fn test(
        &mut self,
        ebpf: &mut Ebpf,
        device: &Device<'_>,
        questions: &Questions,
        answer_for: &[IpAddr],
    ) -> Result<Outcome, KernelError> {
        if device.mode == Mode::XdpNative {
            return Ok(Outcome::Untested(
                "XDP in a driver: a query from the wire has to show it",
            ));
        }
        let Ok((link, sent_before)) = look(device.index) else {
            return Ok(Outcome::Untested("the device is gone"));
        };
        if !link.is_up {
            return Ok(Outcome::Untested("the device is down, or its other end is"));
        }
        let Some(mac) = device.bridge.or(link.mac) else {
            return Ok(Outcome::Untested("the device has no Ethernet address"));
        };
        let to = (answer_for.iter()).min_by_key(|address| address.is_ipv6());
        let Some(to) = to else {
            return Ok(Outcome::Untested("no address is answered for yet"));
        };
        self.begin(*to);
        let outcome = self.send_and_wait(ebpf, device, questions, (*to, mac), sent_before);
        self.words.publish(MAC, 0);
        outcome
    }

    /// Whether the programs, which need not be attached, answer something at the moment.
    ///
    /// # Errors
    /// The program cannot be loaded or run.
    pub(super) fn answers(
        &mut self,
        ebpf: &mut Ebpf,
        questions: &Questions,
        answer_for: &[IpAddr],
    ) -> Result<bool, KernelError> {
        let to = (answer_for.iter()).min_by_key(|address| address.is_ipv6());
        let Some(to) = to else {
            return Ok(false);
        };
        self.begin(*to);
        let frame = self.frame(ebpf, questions, *to);
        self.words.publish(MAC, 0);
        Ok(frame?.is_some())
    }

    fn send_and_wait(
        &mut self,
        ebpf: &mut Ebpf,
        device: &Device<'_>,
        questions: &Questions,
        (to, mac): (IpAddr, [u8; 6]),
        sent_before: u64,
    ) -> Result<Outcome, KernelError> {
        self.last_id = self.last_id.wrapping_add(1);
        let Some(frame) = self.frame(ebpf, questions, to)? else {
            return Ok(Outcome::Untested("the kernel answers nothing yet"));
        };
        let Ok(takers) = Takers::new(ebpf, device) else {
            // It is gone by now, or another agent leaves no place for the test.
            return Ok(Outcome::Untested("the test cannot be attached"));
        };
        send(ebpf, device.index, &frame.to(mac))?;
        let outcome = self.wait(device, sent_before);
        drop(takers);
        Ok(outcome)
    }

    /// A query that the programs answer at the moment; for a device yet to be named.
    fn frame(
        &self,
        ebpf: &mut Ebpf,
        questions: &Questions,
        to: IpAddr,
    ) -> Result<Option<Frame>, KernelError> {
        let program = attach::loaded(ebpf, attach::TC, SchedClassifier::load)?;
        for question in &questions.0 {
            let frame = Frame::new(self.mac, to, self.last_id, question);
            let options = TestRunOptions {
                data_in: Some(&frame.0),
                ..TestRunOptions::default()
            };
            let run = program.test_run(options).map_err(|error| failed(&error))?;
            if run.return_value == TC_ACT_REDIRECT {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// From here on the programs know the frames of the test, and do not count them.
    fn begin(&self, to: IpAddr) {
        self.words.store(ANSWERED, 0);
        self.words.store(PASSED, 0);
        self.words.store(MESSAGE, message_at(to) as u64);
        let mut mac = [0; 8];
        mac[..6].copy_from_slice(&self.mac);
        self.words.publish(MAC, u64::from_le_bytes(mac));
    }

    fn wait(&self, device: &Device<'_>, sent_before: u64) -> Outcome {
        let started = Instant::now();
        loop {
            let (answered, passed) = (self.words.load(ANSWERED), self.words.load(PASSED));
            if answered != 0 {
                return self.judge(answered);
            }
            if passed != 0 {
                return Outcome::Lost("the query went past the program");
            }
            if device.mode == Mode::XdpGeneric
                && look(device.index).is_ok_and(|(_, sent)| sent > sent_before)
            {
                return Outcome::Answered;
            }
            if started.elapsed() > ANSWERED_WITHIN {
                return Outcome::Lost("no answer came back");
            }
            thread::sleep(LOOK);
        }
    }

    /// Whether what has gone out is the answer.
    fn judge(&self, seen: u64) -> Outcome {
        let [id_high, id_low, flags, ..] = (seen & !SEEN).to_le_bytes();
        let is_it = u16::from_be_bytes([id_high, id_low]) == self.last_id
            && flags & (IS_ANSWER | IS_TRUNCATED) == IS_ANSWER;
        if is_it {
            Outcome::Answered
        } else {
            Outcome::Lost("something else than the answer came back")
        }
    }
}

/// Puts a frame into a device.
fn send(ebpf: &mut Ebpf, index: u32, frame: &[u8]) -> Result<(), KernelError> {
    let mut context = [0; CONTEXT_BYTES];
    context[CONTEXT_DEVICE..].copy_from_slice(&index.to_ne_bytes());
    let program = attach::loaded(ebpf, SEND, SchedClassifier::load)?;
    let options = TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(&context),
        ..TestRunOptions::default()
    };
    program.test_run(options).map_err(|error| failed(&error))?;
    Ok(())
}

/// What is tested.
pub(super) struct Device<'a> {
    pub name: &'a str,
    pub index: u32,
    pub mode: Mode,
    /// The address of the bridge that it is a port of.
    pub bridge: Option<[u8; 6]>,
}

/// A device as it is now, and how many packets it has sent.
fn look(index: u32) -> io::Result<(Link, u64)> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    for answer in netlink::request(RouteNetlinkMessage::GetLink(question))? {
        if let RouteNetlinkMessage::NewLink(message) = answer {
            let sent = (message.attributes.iter()).find_map(|attribute| match attribute {
                LinkAttribute::Stats64(stats) => Some(stats.tx_packets),
                _ => None,
            });
            return Ok((Link::of(&message), sent.unwrap_or(0)));
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn failed(error: &aya::programs::ProgramError) -> KernelError {
    KernelError::Probe {
        reason: chain(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_this_query_counts() {
        let mut prober = Prober::new(Words::heap(WORDS));
        assert_eq!(prober.mac[0] & 3, 2);
        prober.last_id = 0x4711;
        let seen = |bytes: [u8; 4]| SEEN | u64::from(u32::from_le_bytes(bytes));
        let judged = |bytes| prober.judge(seen(bytes)) == Outcome::Answered;
        assert!(judged([0x47, 0x11, 0x84, 0]));
        assert!(!judged([0x47, 0x12, 0x84, 0]), "another ID");
        assert!(!judged([0x47, 0x11, 0x04, 0]), "a query");
        assert!(!judged([0x47, 0x11, 0x86, 0]), "truncated");
    }
}
