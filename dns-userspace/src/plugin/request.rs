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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Edns {
    /// The data of the first option with a code.
    pub fn option(&self, code: u16) -> Option<&[u8]> {
        let mut rest = &self.options[..];
        while let [c0, c1, l0, l1, data @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let (data, behind) = data.split_at_checked(length)?;
            if u16::from_be_bytes([*c0, *c1]) == code {
                return Some(data);
            }
            rest = behind;
        }
        None
    }
}
