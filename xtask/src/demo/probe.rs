//! How long an answer takes: one socket asks the same question again and again.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How long an answer may take before it counts as lost.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The UDP size that the OPT record says we take (RFC 6891 section 6.2.5).
const UDP_SIZE: u16 = 1232;
/// Asks that are not measured: caches, neighbour entries.
const WARM_UP: u16 = 10;

/// How long the answers took.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Half of them were faster.
    pub median: Duration,
    /// 99 of 100 were faster.
    pub p99: Duration,
}

/// Asks `count` times, one after the other.
pub fn measure(server: SocketAddr, query: &[u8], count: u16) -> Result<Latency> {
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let mut query = query.to_vec();
    let mut times = Vec::with_capacity(count.into());
    for id in 0..WARM_UP + count {
        query[..2].copy_from_slice(&id.to_be_bytes());
        let time = ask(&socket, &query).with_context(|| format!("asking {server}"))?;
        if id >= WARM_UP {
            times.push(time);
        }
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    Ok(Latency {
        median: at(50),
        p99: at(99),
    })
}

fn ask(socket: &UdpSocket, query: &[u8]) -> Result<Duration> {
    let mut answer = [0; 4096];
    let started = Instant::now();
    socket.send(query)?;
    loop {
        let length = socket.recv(&mut answer).context("no answer")?;
        let time = started.elapsed();
        if length < 12 || answer[2] & 0x80 == 0 {
            bail!("what came back is not a DNS response");
        }
        if answer[..2] == query[..2] {
            return Ok(time);
        }
    }
}

/// A query in wire form (RFC 1035 section 4.1), its ID zero.
pub fn query(name: &str, rtype: &str, edns: bool) -> Result<Vec<u8>> {
    let mut bytes = vec![0, 0, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|&length| length < 64);
        bytes.push(length.with_context(|| format!("{name}: a label is too long"))?);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(type_number(rtype)?.to_be_bytes());
    bytes.extend(1_u16.to_be_bytes()); // class IN
    if edns {
        bytes.extend([0, 0, 41]); // the root's OPT
        bytes.extend(UDP_SIZE.to_be_bytes());
        bytes.extend([0; 6]); // no flags, no options
    }
    Ok(bytes)
}

fn type_number(rtype: &str) -> Result<u16> {
    Ok(match rtype {
        "A" => 1,
        "NS" => 2,
        "CNAME" => 5,
        "SOA" => 6,
        "PTR" => 12,
        "TXT" => 16,
        "AAAA" => 28,
        "SRV" => 33,
        _ => bail!("{rtype}: the demo asks for no such type"),
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_query_is_as_the_rfc_draws_it() {
        let bytes = query("a.bc.", "AAAA", false).unwrap();
        assert_eq!(&bytes[4..12], [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[12..], b"\x01a\x02bc\0\0\x1c\0\x01");
        let bytes = query("a", "A", true).unwrap();
        assert_eq!(bytes[11], 1);
        assert_eq!(&bytes[bytes.len() - 11..], b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
        assert!(query(&"a".repeat(64), "A", false).is_err());
    }

    #[test]
    fn measures_what_a_server_answers() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let serving = thread::spawn(move || {
            let mut bytes = [0; 512];
            for _ in 0..WARM_UP + 20 {
                let (length, client) = server.recv_from(&mut bytes).unwrap();
                bytes[2] |= 0x80;
                server.send_to(&bytes[..length], client).unwrap();
            }
        });
        let latency = measure(address, &query("a", "A", false).unwrap(), 20).unwrap();
        assert!(latency.median <= latency.p99 && latency.p99 < TIMEOUT);
        serving.join().unwrap();
    }
}
