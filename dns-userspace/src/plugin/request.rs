//! A query on its way through the plugins.

use std::{net::SocketAddr, sync::Arc};

use hickory_proto::rr::{Name, RecordType};

use crate::socket::Transport;

/// A well-formed query, and where it comes from.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub client: SocketAddr,
    /// The address that was asked.
    pub local: SocketAddr,
    /// How it came in.
    pub transport: Transport,
    /// The query's header.
    pub header: Header,
    /// What is asked now: a plugin may have rewritten it. In the case of the client.
    pub name: Name,
    /// The type that is asked.
    pub rtype: RecordType,
    /// The class that is asked: 1 for IN.
    pub class: u16,
    /// The query's OPT record.
    pub edns: Option<Edns>,
    /// What was asked.
    pub asked: Name,
    /// Name, type and class as they stood in the query, for the echo.
    pub question: Box<[u8]>,
    /// Bytes of the message.
    pub bytes: usize,
    /// The zone of the server block that answers.
    pub zone: Name,
    /// The server, as metrics name it: `dns://:53`.
    pub server: Arc<str>,
    /// The view of the server block, if it has one.
    pub view: Arc<str>,
    /// The serial of the zone that the client has, for IXFR.
    pub serial: Option<u32>,
    /// How many aliases were followed up to here: 0 for what a client asks.
    pub lookups: u8,
}

impl Request {
    /// The name that is asked, in lower case.
    pub fn lower_name(&self) -> Name {
        self.name.to_lowercase()
    }
}

/// What a reply copies from the query's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// ID
    pub id: u16,
    /// OPCODE
    pub opcode: u8,
    /// RD
    pub recursion_desired: bool,
    /// CD
    pub checking_disabled: bool,
    /// AD
    pub authentic_data: bool,
}

/// The query's OPT record (RFC 6891).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edns {
    /// What the client takes, at least 512.
    pub udp_bytes: u16,
    /// Its version.
    pub version: u8,
    /// DO
    pub dnssec_ok: bool,
    /// Its options as they stand there, well-formed.
    pub options: Box<[u8]>,
}

/// What fits into an OPT record with some room: its length has 16 bits.
const EDNS_OPTIONS_BYTES_MAX: usize = 65_000;

/// The size in an OPT record that a plugin adds to a query, as in `CoreDNS`.
pub const EDNS_BYTES_OURS: u16 = 4096;

impl Edns {
    /// Its options, code and data.
    pub fn options(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let mut rest = &self.options[..];
        std::iter::from_fn(move || {
            let [c0, c1, l0, l1, data @ ..] = rest else {
                return None;
            };
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let (data, behind) = data.split_at_checked(length)?;
            rest = behind;
            Some((u16::from_be_bytes([*c0, *c1]), data))
        })
    }

    /// The data of the first option with a code.
    pub fn option(&self, code: u16) -> Option<&[u8]> {
        self.options()
            .find_map(|(known, data)| (known == code).then_some(data))
    }

    /// Other options instead; those that do not fit are left out.
    pub fn set_options(&mut self, options: &[(u16, Vec<u8>)]) {
        let mut bytes = Vec::new();
        for (code, data) in options {
            let length = u16::try_from(data.len());
            let Some(length) = length
                .ok()
                .filter(|_| bytes.len() + data.len() <= EDNS_OPTIONS_BYTES_MAX)
            else {
                continue;
            };
            bytes.extend_from_slice(&code.to_be_bytes());
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(data);
        }
        self.options = bytes.into();
    }
}
