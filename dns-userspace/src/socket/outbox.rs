//! Replies that leave together: one system call for those of one batch of queries.
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

/// For `in6_pktinfo`, the longer one of both families.
const CONTROL_BYTES: usize = 40;

/// A message that a kernel's structure is laid out in.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

// A header of a control message is aligned as its length is.
const _: () = assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());

/// At most as many replies as one batch has queries.
#[derive(Default)]
pub struct Outbox {
    replies: Vec<Outgoing>,
    /// Those of this batch; the rest is memory for later ones.
    count: usize,
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
    pub fn send(&self, socket: BorrowedFd<'_>, skipped: usize) -> io::Result<usize> {
        const NO_VECTOR: libc::iovec = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        let mut vectors = [NO_VECTOR; BATCH_SIZE];
        let mut controls = [Control([0; CONTROL_BYTES]); BATCH_SIZE];
        // SAFETY: all zero is a header without address, vectors and control data.
        let mut headers: [libc::mmsghdr; BATCH_SIZE] = unsafe { std::mem::zeroed() };
        let replies = self.replies[..self.count].iter().skip(skipped);
        let mut count: libc::c_uint = 0;
        let slots = headers.iter_mut().zip(&mut vectors).zip(&mut controls);
        for (reply, ((header, vector), control)) in replies.zip(slots) {
            *vector = libc::iovec {
                iov_base: reply.message.as_ptr().cast_mut().cast(),
                iov_len: reply.message.len(),
            };
            let header = &mut header.msg_hdr;
            header.msg_name = reply.to.as_ptr().cast_mut().cast();
            header.msg_namelen = reply.to.len();
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            if let Some(from) = reply.from {
                header.msg_control = control.0.as_mut_ptr().cast();
                header.msg_controllen = CONTROL_BYTES;
                leave_from(header, from);
            }
            count += 1;
        }
        // SAFETY: `count` headers, whose addresses, vectors, messages and control data outlive the call, which only
        // reads them.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Says in the control data of a message which address of ours it leaves from.
fn leave_from(header: &mut libc::msghdr, from: IpAddr) {
    match from {
        IpAddr::V4(from) => control(
            header,
            (libc::IPPROTO_IP, libc::IP_PKTINFO),
            libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(from.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            },
        ),
        IpAddr::V6(from) => control(
            header,
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

/// The only control message of a header.
fn control<T>(header: &mut libc::msghdr, (level, kind): (libc::c_int, libc::c_int), data: T) {
    let bytes = u32::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: these only add up lengths.
    let (length, space) = unsafe { (libc::CMSG_LEN(bytes), libc::CMSG_SPACE(bytes)) };
    header.msg_controllen = header.msg_controllen.min(space as usize);
    // SAFETY: the control data is as long as `space`, which is not more than `CONTROL_BYTES`, and aligned for a header;
    // so there is a first message in it, with room for `data`.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = length as usize;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(data);
    }
}
