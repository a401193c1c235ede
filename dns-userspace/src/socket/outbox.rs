//! Replies that leave together: one system call for those of one batch of queries.
//!
//! Several in a row to one client, all of one length but the last, which may be shorter, go through the stack as one
//! packet and are cut where they have to be (UDP GSO, Linux 4.18): the client gets datagrams as ever. Where a device or
//! its MTU does not allow it, each goes by itself from then on.
//!
//! Their memory is kept from batch to batch.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

use quinn_udp::BATCH_SIZE;
use socket2::SockAddr;

/// For `in6_pktinfo`, the longer one of both families, and the length of a segment.
const CONTROL_BYTES: usize = 40 + 24;
/// `UDP_MAX_SEGMENTS` of older kernels.
const TRAIN_REPLIES_MAX: usize = 64;
/// Below what IP can say, headers included.
const TRAIN_BYTES_MAX: usize = 65_000;

/// A message that a kernel's structure is laid out in.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

// A header of a control message is aligned as its length is.
const _: () = assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());

/// Replies, and memory for them.
pub struct Outbox {
    replies: Vec<Outgoing>,
    /// Those of this batch; the rest is memory for later ones.
    count: usize,
    /// Several may be one packet.
    has_trains: bool,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox {
            replies: Vec::new(),
            count: 0,
            has_trains: true,
        }
    }
}

struct Outgoing {
    to: SockAddr,
    /// The address of ours that it leaves from; `None` where the socket has only one.
    from: Option<IpAddr>,
    message: Vec<u8>,
}

impl Outbox {
    /// Memory for the next reply, which is part of the batch once it is [`put`](Self::put).
    pub fn blank(&mut self) -> &mut Vec<u8> {
        if self.count == self.replies.len() {
            self.replies.push(Outgoing {
                to: SockAddr::from(SocketAddr::from(([0; 4], 0))),
                from: None,
                message: Vec::new(),
            });
        }
        &mut self.replies[self.count].message
    }

    /// What was written into the blank one goes there.
    pub fn put(&mut self, to: SocketAddr, from: Option<IpAddr>) {
        if let Some(reply) = self.replies.get_mut(self.count) {
            reply.to = SockAddr::from(to);
            reply.from = from;
            self.count += 1;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Sends those behind the first `skipped`; how many were sent.
    ///
    /// # Errors
    ///
    /// The first of them cannot be sent.
    pub fn send(&mut self, socket: BorrowedFd<'_>, skipped: usize) -> io::Result<usize> {
        const NO_VECTOR: libc::iovec = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        let mut vectors = [NO_VECTOR; BATCH_SIZE];
        let mut controls = [Control([0; CONTROL_BYTES]); BATCH_SIZE];
        // SAFETY: all zero is a header without address, vectors and control data.
        let mut headers: [libc::mmsghdr; BATCH_SIZE] = unsafe { std::mem::zeroed() };
        let mut lengths = [0; BATCH_SIZE];
        let end = self.count.min(skipped + BATCH_SIZE);
        let replies = &self.replies[skipped..end];
        for (vector, reply) in vectors.iter_mut().zip(replies) {
            *vector = libc::iovec {
                iov_base: reply.message.as_ptr().cast_mut().cast(),
                iov_len: reply.message.len(),
            };
        }
        let (mut rest, mut vectors) = (replies, &mut vectors[..]);
        let mut count: libc::c_uint = 0;
        let slots = headers.iter_mut().zip(&mut controls).zip(&mut lengths);
        for ((header, control), length) in slots {
            let Some(first) = rest.first() else { break };
            *length = if self.has_trains { train(rest) } else { 1 };
            let (own, others) = vectors.split_at_mut(*length);
            let header = &mut header.msg_hdr;
            header.msg_name = first.to.as_ptr().cast_mut().cast();
            header.msg_namelen = first.to.len();
            header.msg_iov = own.as_mut_ptr();
            // (glibc and musl have different types for lengths.)
            header.msg_iovlen = own.len() as _;
            let mut control = Controls::new(control);
            if let Some(from) = first.from {
                leave_from(&mut control, from);
            }
            if *length > 1 {
                let segment = u16::try_from(first.message.len()).unwrap_or(u16::MAX);
                control.add((libc::SOL_UDP, libc::UDP_SEGMENT), segment);
            }
            control.finish(header);
            (rest, vectors) = (&rest[*length..], others);
            count += 1;
        }
        // SAFETY: `count` headers, whose addresses, vectors, messages and control data outlive the call, which only
        // reads them.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
        if let Ok(sent) = usize::try_from(sent) {
            return Ok(lengths[..sent].iter().sum());
        }
        let error = io::Error::last_os_error();
        let is_refused = matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO));
        if lengths[0] > 1 && is_refused {
            self.has_trains = false;
            return Ok(0);
        }
        Err(error)
    }
}

/// How many replies from the first on can be one packet.
fn train(replies: &[Outgoing]) -> usize {
    let Some(first) = replies.first() else {
        return 0;
    };
    let (mut length, mut bytes) = (1, first.message.len());
    for reply in replies.iter().take(TRAIN_REPLIES_MAX).skip(1) {
        let is_there = reply.to == first.to && reply.from == first.from;
        bytes += reply.message.len();
        if !is_there || reply.message.len() > first.message.len() || bytes > TRAIN_BYTES_MAX {
            break;
        }
        length += 1;
        // A shorter one is the last.
        if reply.message.len() < first.message.len() {
            break;
        }
    }
    length
}

/// Says which address of ours a message leaves from.
fn leave_from(controls: &mut Controls<'_>, from: IpAddr) {
    match from {
        IpAddr::V4(from) => controls.add(
            (libc::IPPROTO_IP, libc::IP_PKTINFO),
            libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(from.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            },
        ),
        IpAddr::V6(from) => controls.add(
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
            libc::in6_pktinfo {
                ipi6_ifindex: 0,
                ipi6_addr: libc::in6_addr {
                    s6_addr: from.octets(),
                },
            },
        ),
    }
}

/// The control messages of one message (cmsg(3)).
struct Controls<'a> {
    memory: &'a mut Control,
    used: usize,
}

impl<'a> Controls<'a> {
    fn new(memory: &'a mut Control) -> Self {
        Controls { memory, used: 0 }
    }

    /// The next one.
    fn add<T: Copy>(&mut self, (level, kind): (libc::c_int, libc::c_int), data: T) {
        let bytes = u32::try_from(size_of::<T>()).unwrap_or(0);
        // SAFETY: these only add up lengths.
        let (length, space) = unsafe { (libc::CMSG_LEN(bytes), libc::CMSG_SPACE(bytes)) };
        // SAFETY: all zero is a header, and musl's has a gap behind the length that has to be zero.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = length as _;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        let end = self.used + space as usize;
        let memory = &mut self.memory.0[self.used..end];
        // SAFETY: `memory` has room for a header and behind it, `CMSG_LEN(0)` bytes from its beginning, for the data.
        unsafe {
            memory
                .as_mut_ptr()
                .cast::<libc::cmsghdr>()
                .write_unaligned(header);
            let at = libc::CMSG_LEN(0) as usize;
            memory
                .as_mut_ptr()
                .add(at)
                .cast::<T>()
                .write_unaligned(data);
        }
        self.used = end;
    }

    fn finish(self, header: &mut libc::msghdr) {
        if self.used > 0 {
            header.msg_control = self.memory.0.as_mut_ptr().cast();
            header.msg_controllen = self.used as _;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd as _, time::Duration};

    use super::*;

    fn sockets() -> (UdpSocket, UdpSocket) {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        let patience = Duration::from_secs(4);
        theirs.set_read_timeout(Some(patience)).unwrap();
        (ours, theirs)
    }

    fn put(outbox: &mut Outbox, to: SocketAddr, messages: &[&[u8]]) {
        for message in messages {
            let blank = outbox.blank();
            blank.clear();
            blank.extend_from_slice(message);
            outbox.put(to, Some(IpAddr::from([127, 0, 0, 2])));
        }
    }

    #[test]
    fn each_arrives_as_it_is() {
        let ((ours, theirs), mut outbox) = (sockets(), Outbox::default());
        let to = theirs.local_addr().unwrap();
        let messages: [&[u8]; 7] = [
            b"aaaa", b"bbbb", b"cc", b"dddd", b"eeeee", b"fffff", b"ggggg",
        ];
        for has_trains in [true, false] {
            outbox.has_trains = has_trains;
            put(&mut outbox, to, &messages);
            assert_eq!(outbox.send(ours.as_fd(), 0).unwrap(), messages.len());
            outbox.clear();
            for message in messages {
                let mut buffer = [0; 100];
                let (length, from) = theirs.recv_from(&mut buffer).unwrap();
                assert_eq!(buffer[..length], *message);
                assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 2]));
            }
        }
    }

    #[test]
    fn a_train_is_of_one_client_and_of_one_length() {
        let to: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let mut outbox = Outbox::default();
        put(
            &mut outbox,
            to,
            &[b"aaaa", b"bbbb", b"cc", b"dddd", b"eeeee"],
        );
        put(&mut outbox, "127.0.0.1:2".parse().unwrap(), &[b"fffff"]);
        let lengths: Vec<_> = (0..6).map(|at| train(&outbox.replies[at..])).collect();
        assert_eq!(lengths, [3, 2, 1, 1, 1, 1]);
        let long = vec![0; 30_000];
        outbox.clear();
        put(&mut outbox, to, &[&long, &long, &long]);
        assert_eq!(train(&outbox.replies[..3]), 2);
    }

    #[test]
    fn what_was_skipped_is_not_sent_again() {
        let ((ours, theirs), mut outbox) = (sockets(), Outbox::default());
        put(
            &mut outbox,
            theirs.local_addr().unwrap(),
            &[b"aaaa", b"bbbb"],
        );
        assert_eq!(outbox.send(ours.as_fd(), 1).unwrap(), 1);
        let mut buffer = [0; 100];
        let length = theirs.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], *b"bbbb");
    }
}
