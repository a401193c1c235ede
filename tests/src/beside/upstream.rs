//! The upstream of both servers, in this process: it says what the first label of a name in `up.test` tells it to, and
//! always the same.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    str::FromStr as _,
    thread,
};

use anyhow::Result;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, MX, SOA, SRV, TXT},
    },
};

/// What fits without TCP.
const UDP_BYTES_MAX: usize = 1232;

/// Starts it. It ends with the process.
///
/// # Errors
/// There is no port for it.
pub fn start() -> Result<SocketAddr> {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = udp.local_addr()?;
        if let Ok(tcp) = TcpListener::bind(address) {
            thread::spawn(move || serve_udp(&udp));
            thread::spawn(move || serve_tcp(&tcp));
            return Ok(address);
        }
    }
}

fn serve_udp(socket: &UdpSocket) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let Some(mut reply) = reply(&buffer[..length]) else {
            continue;
        };
        let size = reply.edns.as_ref().map_or(512, |_| UDP_BYTES_MAX);
        let mut bytes = reply.to_vec().unwrap_or_default();
        if bytes.len() > size {
            reply.answers.clear();
            reply.metadata.truncation = true;
            bytes = reply.to_vec().unwrap_or_default();
        }
        // Who asked may be gone.
        let _ = socket.send_to(&bytes, from);
    }
}

fn serve_tcp(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || serve_stream(stream));
    }
}

fn serve_stream(mut stream: TcpStream) -> Option<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query).ok()?;
        let reply = reply(&query)?.to_vec().ok()?;
        let mut message = u16::try_from(reply.len()).ok()?.to_be_bytes().to_vec();
        message.extend(reply);
        stream.write_all(&message).ok()?;
    }
}

fn reply(query: &[u8]) -> Option<Message> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first()?;
    let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.checking_disabled = query.metadata.checking_disabled;
    reply.metadata.recursion_available = true;
    reply.add_query(question.clone());
    if let Some(asked) = &query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        reply.edns = Some(edns);
    }
    let (rcode, answers) = answers(&question.name, question.query_type);
    reply.metadata.response_code = rcode;
    // What is there carries AD for who wants to know.
    reply.metadata.authentic_data =
        query.edns.is_some_and(|edns| edns.flags().dnssec_ok) && !answers.is_empty();
    if answers.is_empty() && matches!(rcode, ResponseCode::NoError | ResponseCode::NXDomain) {
        reply.authorities.push(soa());
    }
    reply.answers = answers;
    Some(reply)
}

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap_or_else(|_| Name::root())
}

fn soa() -> Record {
    let data = SOA::new(
        name("ns.up.test."),
        name("hostmaster.up.test."),
        7,
        7200,
        1800,
        86400,
        25,
    );
    Record::from_rdata(name("up.test."), 60, RData::SOA(data))
}

fn answers(owner: &Name, rtype: RecordType) -> (ResponseCode, Vec<Record>) {
    let lower = owner.to_lowercase();
    let is_ours = name("up.test.").zone_of(&lower) && lower.num_labels() == 3;
    let first = match lower.iter().next() {
        Some(label) if is_ours => String::from_utf8_lossy(label).into_owned(),
        // `denied` among them.
        _ => return (ResponseCode::NXDomain, Vec::new()),
    };
    let record = |ttl, data| Record::from_rdata(owner.clone(), ttl, data);
    let v4 = |last| RData::A(A(Ipv4Addr::new(192, 0, 2, last)));
    let alias = |target: &str| record(300, RData::CNAME(CNAME(name(target))));
    let a1 = |ttl| Record::from_rdata(name("a1.up.test."), ttl, v4(1));
    let found = match (first.as_str(), rtype) {
        ("servfail", _) => return (ResponseCode::ServFail, Vec::new()),
        ("refused", _) => return (ResponseCode::Refused, Vec::new()),
        ("a1", RecordType::A) => vec![record(300, v4(1))],
        ("a2", RecordType::A) => vec![record(300, v4(1)), record(300, v4(2))],
        ("a3", RecordType::A) => vec![record(30, v4(1)), record(30, v4(2)), record(30, v4(3))],
        ("both", RecordType::A) => vec![record(60, v4(9))],
        ("six" | "both", RecordType::AAAA) => {
            let address = [0x20_01, 0xd_b8, 0, 0, 0, 0, 0, 6].into();
            vec![record(60, RData::AAAA(AAAA(address)))]
        }
        ("cname" | "chain" | "away", RecordType::CNAME) => vec![alias("a1.up.test.")],
        ("cname", RecordType::A) => vec![alias("a1.up.test."), a1(120)],
        ("chain", RecordType::A) => vec![
            alias("link.up.test."),
            Record::from_rdata(
                name("link.up.test."),
                90,
                RData::CNAME(CNAME(name("a1.up.test."))),
            ),
            a1(120),
        ],
        ("away", _) => vec![alias("elsewhere.example.")],
        ("big", RecordType::A) => (0..100).map(|last| record(300, v4(last))).collect(),
        ("text", RecordType::TXT) => vec![record(
            300,
            RData::TXT(TXT::new(vec!["one".into(), "two".into()])),
        )],
        ("mail", RecordType::MX) => {
            vec![record(300, RData::MX(MX::new(10, name("a1.up.test."))))]
        }
        ("service", RecordType::SRV) => {
            vec![record(
                300,
                RData::SRV(SRV::new(1, 2, 80, name("a1.up.test."))),
            )]
        }
        ("zero", RecordType::A) => vec![record(0, v4(7))],
        ("short", RecordType::A) => vec![record(2, v4(8))],
        (
            "a1" | "a2" | "a3" | "six" | "both" | "cname" | "chain" | "nodata" | "big" | "text"
            | "mail" | "service" | "zero" | "short",
            _,
        ) => Vec::new(),
        // `denied` among them.
        _ => return (ResponseCode::NXDomain, Vec::new()),
    };
    (ResponseCode::NoError, found)
}
