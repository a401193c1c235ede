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

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread,
    time::{Duration, Instant},
};

use aya::{
    Ebpf, TestRun as _, TestRunOptions,
    programs::{LinkOrder, SchedClassifier, links::FdLink, tc::TcAttachOptions},
};
use hickory_proto::rr::{Name, RecordType};
use hopzero_common::{
    frame::{DNS_V4, DNS_V6},
    probe::SEEN,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};

use super::{
    KernelError, Mode,
    attach::{self, Refusal},
    clsact::{self, Direction},
    error::chain,
    links::Link,
    netlink,
};
use crate::{publisher::memory::Words, zone::Zone};

/// Sends the query.
const SEND: &str = "hopzero_probe_send";
/// Takes it, and the answer.
pub(super) const TAKE: &str = "hopzero_probe";
/// How long the answer may take. It is there before the system call that sends the query returns, unless another CPU
/// works off the backlog.
const ANSWERED_WITHIN: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(1);
/// Names of a zone that are tried.
const NAMES_MAX: usize = 32;

/// Words of `hopzero_common::probe::Probe`.
const MAC: usize = 0;
const MESSAGE: usize = 1;
const ANSWERED: usize = 2;
const PASSED: usize = 3;
/// How many there are.
pub(super) const WORDS: usize = 4;

/// Documentation's own (RFC 5737, RFC 3849): nobody's.
const FROM_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FROM_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// A port of no service.
const FROM_PORT: u16 = 49_152;

const UDP: usize = 8;
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

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Questions(Vec<Vec<u8>>);

impl Questions {
    /// Names of a zone that the kernel may well answer.
    pub(super) fn of(zone: &Zone) -> Self {
        let version = crate::zone::below(&zone.config().origin, &["dns-version"]);
        let version = version.map(|name| (name, RecordType::TXT));
        let names = zone.names().take(NAMES_MAX);
        let all = (version.into_iter()).chain(names.map(|name| (name, RecordType::A)));
        Questions(all.map(|(name, rtype)| question(&name, rtype)).collect())
    }
}

/// A question as on the wire (RFC 1035 section 4.1.2).
fn question(name: &Name, rtype: RecordType) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label);
    }
    bytes.push(0);
    bytes.extend(u16::from(rtype).to_be_bytes());
    bytes.extend([0, 1]); // class IN
    bytes
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

/// The program that takes the frames of a test, where it stands; gone when this is.
struct Takers {
    _links: Vec<Taker>,
}

#[expect(dead_code, reason = "held for as long as it is to stand there")]
enum Taker {
    Link(FdLink),
    Filter(clsact::Filter),
}

impl Takers {
    fn new(ebpf: &mut Ebpf, device: &Device<'_>) -> Result<Self, Refusal> {
        let program: &mut SchedClassifier = attach::loaded(ebpf, TAKE, SchedClassifier::load)?;
        // tcx runs before clsact, so where our program is at clsact the test has to be there too.
        let links = match device.mode {
            Mode::Tcx => vec![by_tcx(program, device, Direction::Egress)?],
            Mode::Clsact => vec![by_clsact(program, device, Direction::Egress)?],
            Mode::XdpGeneric | Mode::XdpNative => {
                let behind = by_tcx(program, device, Direction::Ingress);
                vec![behind.or_else(|_| by_clsact(program, device, Direction::Ingress))?]
            }
        };
        Ok(Takers { _links: links })
    }
}

fn by_tcx(
    program: &mut SchedClassifier,
    device: &Device<'_>,
    direction: Direction,
) -> Result<Taker, Refusal> {
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(device.name, direction.attach_type(), first)?;
    let link = program.take_link(id)?;
    Ok(Taker::Link(link.try_into()?))
}

fn by_clsact(
    program: &mut SchedClassifier,
    device: &Device<'_>,
    direction: Direction,
) -> Result<Taker, Refusal> {
    clsact::attach(program, device.name, device.index, direction).map(Taker::Filter)
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

/// Where the message begins in a frame.
const fn message_at(to: IpAddr) -> usize {
    match to {
        IpAddr::V4(_) => DNS_V4,
        IpAddr::V6(_) => DNS_V6,
    }
}

/// A query in its frame.
struct Frame(Vec<u8>);

impl Frame {
    /// To the address of loopback, as whose device a program is run that is not attached.
    fn new(from: [u8; 6], to: IpAddr, id: u16, question: &[u8]) -> Self {
        let mut message = id.to_be_bytes().to_vec();
        message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend(question);
        let udp_length = u16::try_from(UDP + message.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![0; 6];
        bytes.extend(from);
        match to {
            IpAddr::V4(to) => {
                bytes.extend([0x08, 0x00, 0x45, 0]);
                bytes.extend((20 + udp_length).to_be_bytes());
                // No fragment, 64 hops, UDP, and no checksum: a wrong one.
                bytes.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
                bytes.extend(FROM_V4.octets());
                bytes.extend(to.octets());
            }
            IpAddr::V6(to) => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend(udp_length.to_be_bytes());
                bytes.extend([17, 64]);
                bytes.extend(FROM_V6.octets());
                bytes.extend(to.octets());
            }
        }
        bytes.extend(FROM_PORT.to_be_bytes());
        bytes.extend(53u16.to_be_bytes());
        bytes.extend(udp_length.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(message);
        Frame(bytes)
    }

    /// To another device.
    fn to(mut self, mac: [u8; 6]) -> Vec<u8> {
        self.0[..6].copy_from_slice(&mac);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_query_that_no_stack_would_take() {
        let name = Name::from_ascii("dns-version.cluster.local.").unwrap();
        let question = question(&name, RecordType::TXT);
        for (to, message) in [("10.96.0.10", 42), ("fd00::a", 62)] {
            let to = to.parse().unwrap();
            let frame = Frame::new([2; 6], to, 0x4711, &question).to([4; 6]);
            assert_eq!(message_at(to), message);
            assert_eq!(frame[..12], [4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2]);
            assert_eq!(frame[message..message + 2], [0x47, 0x11]);
            let parsed = hickory_proto::op::Message::from_vec(&frame[message..]).unwrap();
            assert_eq!(parsed.queries[0].name(), &name);
            assert_eq!(parsed.queries[0].query_type(), RecordType::TXT);
        }
        let v4 = Frame::new([2; 6], "10.96.0.10".parse().unwrap(), 1, &question);
        let sum: u32 = (v4.0[14..34].chunks(2))
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_ne!((sum & 0xffff) + (sum >> 16), 0xffff, "a right checksum");
    }

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
