//! A plain client: queries in wire form, sent from ordinary sockets.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use hickory_proto::op::Message;

use crate::namespace::Namespace;

/// How long an answer may take before it counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Numbers of the types that are asked for.
pub mod rtype {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name servers of a zone.
    pub const NS: u16 = 2;
    /// Alias.
    pub const CNAME: u16 = 5;
    /// Start of a zone.
    pub const SOA: u16 = 6;
    /// Name of an address.
    pub const PTR: u16 = 12;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Service.
    pub const SRV: u16 = 33;
}

/// A query's question and options.
#[derive(Clone, Debug)]
pub struct Query {
    /// The name, in the case in which it is asked.
    pub name: String,
    /// The type.
    pub qtype: u16,
    /// The message's ID.
    pub id: u16,
    edns: Option<Vec<u8>>,
    dnssec_ok: bool,
}

impl Query {
    /// A query without EDNS.
    pub fn new(name: impl Into<String>, qtype: u16) -> Self {
        Self {
            name: name.into(),
            qtype,
            id: 0x4711,
            edns: None,
            dnssec_ok: false,
        }
    }

    /// For the name of an address.
    pub fn ptr(address: IpAddr) -> Self {
        Self::new(reverse(address), rtype::PTR)
    }

    /// With an OPT record, with these options (RFC 6891 section 6.1.2).
    #[must_use]
    pub fn edns(mut self, options: &[u8]) -> Self {
        self.edns = Some(options.to_vec());
        self
    }

    /// With an OPT record that asks for signatures (RFC 3225).
    #[must_use]
    pub fn dnssec_ok(mut self) -> Self {
        self.dnssec_ok = true;
        self.edns(&[])
    }

    /// With another ID.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// In wire form (RFC 1035 section 4.1).
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.id.to_be_bytes().to_vec();
        bytes.extend([0x01, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())]);
        for label in self.name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).expect("a label"));
            bytes.extend(label.bytes());
        }
        bytes.push(0);
        bytes.extend(self.qtype.to_be_bytes());
        bytes.extend([0, 1]); // class IN
        if let Some(options) = &self.edns {
            // Root, OPT, 1232 bytes, version 0, DO.
            let flags = if self.dnssec_ok { 0x80 } else { 0 };
            bytes.extend([0, 0, 41, 0x04, 0xd0, 0, 0, flags, 0]);
            bytes.extend(
                u16::try_from(options.len())
                    .expect("few options")
                    .to_be_bytes(),
            );
            bytes.extend(options);
        }
        bytes
    }
}

/// The name in in-addr.arpa or ip6.arpa (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().rev();
            let labels = nibbles.map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
            labels.collect::<String>() + "ip6.arpa"
        }
    }
}

/// Any port of the server's family.
pub fn any(server: SocketAddr) -> SocketAddr {
    if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    }
}

/// A connected UDP socket.
pub struct Client(UdpSocket);

impl Client {
    /// A socket in `namespace` that talks to `server` alone.
    ///
    /// # Errors
    /// There is no way to it.
    pub fn new(namespace: &Namespace, server: SocketAddr) -> Result<Self> {
        Self::from_port(namespace, server, any(server))
    }

    /// The same, from this address and port.
    ///
    /// # Errors
    /// The port is taken, or there is no way to the server.
    pub fn from_port(namespace: &Namespace, server: SocketAddr, from: SocketAddr) -> Result<Self> {
        let socket = namespace.udp(from)?;
        socket
            .connect(server)
            .with_context(|| format!("connecting to {server}"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// How long an answer may take.
    ///
    /// # Errors
    /// It is zero.
    pub fn patience(&self, patience: Duration) -> Result<()> {
        Ok(self.0.set_read_timeout(Some(patience))?)
    }

    /// Sends the query, waits for the answer with its ID.
    ///
    /// # Errors
    /// None came.
    pub fn ask(&self, query: &[u8]) -> Result<Vec<u8>> {
        self.0.send(query)?;
        let mut buffer = [0; 4096];
        loop {
            let length = self.0.recv(&mut buffer).context("no answer")?;
            ensure!(length >= 12, "an answer of {length} bytes");
            if buffer[..2] == query[..2] {
                return Ok(buffer[..length].to_vec());
            }
        }
    }
}

/// One query over UDP from a socket of its own.
///
/// # Errors
/// No answer came.
pub fn ask_udp(from: &Namespace, server: SocketAddr, query: &Query) -> Result<Vec<u8>> {
    let client = Client::new(from, server)?;
    client
        .ask(&query.bytes())
        .with_context(|| format!("{server} (UDP): {query:?}"))
}

/// One query over TCP.
///
/// # Errors
/// No answer came.
pub fn ask_tcp(from: &Namespace, server: SocketAddr, query: &Query) -> Result<Vec<u8>> {
    let asked = from.within(|| {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let query = query.bytes();
        let mut message = u16::try_from(query.len())?.to_be_bytes().to_vec();
        message.extend(query);
        stream.write_all(&message)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    });
    asked.with_context(|| format!("{server} (TCP): {query:?}"))
}

/// What hickory reads in the bytes.
///
/// # Errors
/// They are no DNS message.
pub fn parse(bytes: &[u8]) -> Result<Message> {
    Message::from_vec(bytes).with_context(|| format!("not a DNS message: {bytes:02x?}"))
}

/// RCODE and the answer section's data as text, sorted: `NOERROR 10.96.20.20`.
///
/// # Errors
/// They are no DNS message.
pub fn summary(bytes: &[u8]) -> Result<String> {
    let message = parse(bytes)?;
    let mut words: Vec<String> = (message.answers.iter())
        .map(|record| record.data.to_string())
        .collect();
    words.sort();
    let rcode = format!("{:?}", message.metadata.response_code);
    words.insert(0, rcode.to_ascii_uppercase());
    Ok(words.join(" "))
}
