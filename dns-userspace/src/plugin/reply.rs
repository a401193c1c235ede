//! A reply on its way back through the plugins.

use std::net::SocketAddr;

use hickory_proto::{op::ResponseCode, rr::Record};

use crate::zone::Answer;

/// What is sent back, but for what is copied from the query.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// RCODE, extended bits included.
    pub rcode: ResponseCode,
    /// Bits of its header.
    pub flags: Flags,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authority: Vec<Record>,
    /// The additional section, without OPT.
    pub additionals: Vec<Record>,
    /// EDNS options, code and data; sent only if the query has EDNS.
    pub options: Vec<(u16, Vec<u8>)>,
    /// Whether names are compressed. Not in answers that the kernel gives too, which are the same
    /// bytes.
    pub compressed: bool,
    /// The answer sections of further messages, over TCP (RFC 5936 section 2.2).
    pub further: Vec<Vec<Record>>,
    /// Who wrote it: the directive of a plugin.
    pub plugin: Option<&'static str>,
    /// The upstream that it is from.
    pub upstream: Option<SocketAddr>,
}

/// The bits of a reply's header that are not the query's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "that is what they are")]
pub struct Flags {
    /// AA
    pub authoritative: bool,
    /// TC, as an upstream said it. What does not fit is truncated by the writer.
    pub truncated: bool,
    /// RA
    pub recursion_available: bool,
    /// AD
    pub authentic_data: bool,
}

impl Flags {
    /// All zero.
    pub const NONE: Flags = Flags {
        authoritative: false,
        truncated: false,
        recursion_available: false,
        authentic_data: false,
    };
}

impl Reply {
    /// No records.
    pub fn bare(rcode: ResponseCode) -> Self {
        Reply {
            rcode,
            flags: Flags::default(),
            answers: Vec::new(),
            authority: Vec::new(),
            additionals: Vec::new(),
            options: Vec::new(),
            compressed: true,
            further: Vec::new(),
            plugin: None,
            upstream: None,
        }
    }
}

/// The zone's answers are the kernel's too, and not compressed.
impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Reply {
            flags: Flags {
                authoritative: answer.authoritative,
                ..Flags::default()
            },
            answers: answer.answers,
            authority: answer.authority,
            additionals: answer.additionals,
            compressed: false,
            ..Reply::bare(answer.rcode)
        }
    }
}
