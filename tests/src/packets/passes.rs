//! Packets that must come out byte for byte as they went in, each for one reason.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hopzero_common::reason::Reason;

use super::{
    Case, Expect,
    build::{
        A, CLIENT_PORT, CLIENT_V4, CLIENT_V6, DNS_V4, DNS_V6, DOT1AD, DOT1Q, L3, PRIORITY, PTR,
        SERVER_V4, SERVER_V6, VLAN, VLAN_OTHER, fix_v4_checksum, message, message_of, packet,
        tagged, v4, v6, with_opt,
    },
};

const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const TXT: u16 = 16;
const SRV: u16 = 33;
const WEB: &str = "web.shop.svc.cluster.local";
const UDP_V4: usize = L3 + 20;
const UDP_V6: usize = L3 + 40;

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    link(&mut cases);
    vlans(&mut cases);
    ipv4(&mut cases);
    ipv6(&mut cases);
    udp(&mut cases);
    header(&mut cases);
    question(&mut cases);
    cut_opt(&mut cases);
    edns(&mut cases);
    names(&mut cases);
    cases.0
}

struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: impl Into<String>, reason: Reason, packet: Vec<u8>) {
        let name = name.into();
        self.0.push(Case {
            name,
            packet,
            expect: Expect::Pass(reason),
        });
    }

    /// The query over IPv4, changed.
    fn v4(&mut self, name: &str, reason: Reason, change: impl FnOnce(&mut Vec<u8>)) {
        let mut packet = v4(&message(WEB, A));
        change(&mut packet);
        self.add(name, reason, packet);
    }

    /// The query over IPv6, changed.
    fn v6(&mut self, name: &str, reason: Reason, change: impl FnOnce(&mut Vec<u8>)) {
        let mut packet = v6(&message(WEB, A));
        change(&mut packet);
        self.add(name, reason, packet);
    }

    /// The first `len` bytes of a message, over IPv4; the others follow as padding of the frame.
    fn padded(&mut self, name: &str, reason: Reason, message: &[u8], len: usize) {
        let mut packet = v4(&message[..len]);
        packet.extend_from_slice(&message[len..]);
        self.add(
            format!("{name}, the rest stands in the padding"),
            reason,
            packet,
        );
    }

    /// The message changed, over both families.
    fn message(&mut self, name: &str, reason: Reason, message: &[u8]) {
        self.add(format!("{name}, IPv4"), reason, v4(message));
        self.add(format!("{name}, IPv6"), reason, v6(message));
    }
}

fn link(cases: &mut Cases) {
    for (name, ethertype, reason) in [
        ("ARP", [0x08, 0x06], Reason::NotIp),
        ("LLDP", [0x88, 0xcc], Reason::NotIp),
        ("VLAN", [0x81, 0x00], Reason::Vlan),
        ("QinQ", [0x88, 0xa8], Reason::Vlan),
    ] {
        cases.v4(name, reason, |packet| {
            packet[12..14].copy_from_slice(&ethertype);
        });
    }
    cases.v4(
        "IPv6 header behind the type of IPv4",
        Reason::NotUdp,
        |packet| {
            *packet = v6(&message(WEB, A));
            packet[12..14].copy_from_slice(&[0x08, 0x00]);
        },
    );
    for (name, mac) in [
        ("another device's frame", [0x02, 0, 0, 0, 0, 0x99]),
        ("a broadcast frame", [0xff; 6]),
        ("a multicast frame", [0x01, 0, 0x5e, 0, 0, 1]),
        ("a frame whose last byte is not ours", [0, 0, 0, 0, 0, 1]),
        ("a frame whose fifth byte is not ours", [0, 0, 0, 0, 1, 0]),
    ] {
        cases.v4(name, Reason::DestinationMac, |packet| {
            packet[..6].copy_from_slice(&mac);
        });
        cases.v6(name, Reason::DestinationMac, |packet| {
            packet[..6].copy_from_slice(&mac);
        });
    }
}

fn vlans(cases: &mut Cases) {
    let (v4, v6) = (v4(&message(WEB, A)), v6(&message(WEB, A)));
    for (family, packet) in [("IPv4", &v4), ("IPv6", &v6)] {
        for (name, protocol, control) in [
            ("another VLAN", DOT1Q, VLAN_OTHER),
            ("the VLAN's low byte", DOT1Q, 0x100 | VLAN),
            ("VLAN 0, only a priority", DOT1Q, PRIORITY),
            ("VLAN 4095", DOT1Q, 0xfff),
            ("the VLAN as a service provider's", DOT1AD, VLAN),
            ("a tag of the old type for QinQ", 0x9100, VLAN),
        ] {
            let reason = if protocol == 0x9100 {
                Reason::NotIp
            } else {
                Reason::Vlan
            };
            cases.add(
                format!("{name}, {family}"),
                reason,
                tagged(packet, protocol, control),
            );
        }
        for (outer, inner) in [(DOT1AD, DOT1Q), (DOT1Q, DOT1Q), (DOT1Q, DOT1AD)] {
            let twice = tagged(&tagged(packet, inner, VLAN), outer, VLAN);
            cases.add(
                format!("{outer:04x} on {inner:04x}, {family}"),
                Reason::Vlan,
                twice,
            );
        }
    }
    // What is wrong without a tag is wrong with one.
    let untagged = cases.0.len();
    let mut others = Cases(Vec::new());
    link(&mut others);
    ipv4(&mut others);
    ipv6(&mut others);
    udp(&mut others);
    question(&mut others);
    for case in others.0 {
        if !matches!(case.expect, Expect::Pass(Reason::Vlan)) {
            cases.0.push(case.tagged());
        }
    }
    assert!(cases.0.len() > untagged + 50);
}

fn ipv4(cases: &mut Cases) {
    for (name, protocol) in [("TCP", 6), ("ICMP", 1), ("UDP-Lite", 136)] {
        cases.v4(name, Reason::NotUdp, |packet| packet[L3 + 9] = protocol);
    }
    cases.v4("version 5", Reason::IpOptions, |packet| packet[L3] = 0x55);
    cases.v4("IHL 4", Reason::IpOptions, |packet| packet[L3] = 0x44);
    cases.v4("IHL 6 with an option", Reason::IpOptions, |packet| {
        packet[L3] = 0x46;
        packet[L3 + 3] += 4;
        packet.splice(UDP_V4..UDP_V4, [1, 1, 1, 0]);
        fix_v4_checksum(packet);
    });
    cases.v4("more fragments", Reason::Fragment, |packet| {
        packet[L3 + 6] = 0x20;
    });
    cases.v4("a later fragment", Reason::Fragment, |packet| {
        packet[L3 + 7] = 1;
    });
    cases.v4("the last fragment", Reason::Fragment, |packet| {
        packet[L3 + 6] = 0x1f;
    });
    for bit in 0..14 {
        cases.v4(&format!("fragment bit {bit}"), Reason::Fragment, |packet| {
            packet[L3 + 6 + usize::from(bit < 8)] |= 1 << (bit % 8);
        });
    }
    let source = |address: [u8; 4]| {
        packet(
            Ipv4Addr::from(address).into(),
            SERVER_V4.into(),
            CLIENT_PORT,
            53,
            &message(WEB, A),
        )
    };
    for (name, address) in [
        ("from 0.0.0.0", [0, 0, 0, 0]),
        ("from 0.1.2.3", [0, 1, 2, 3]),
        ("from loopback", [127, 0, 0, 1]),
        ("from multicast", [224, 0, 0, 251]),
        ("from class E", [240, 0, 0, 1]),
        ("from broadcast", [255, 255, 255, 255]),
        ("from our own address", SERVER_V4.octets()),
    ] {
        cases.add(name, Reason::Source, source(address));
    }
    for (name, address) in [
        ("to another address", [10, 96, 0, 11]),
        ("to broadcast", [255, 255, 255, 255]),
        ("to multicast", [224, 0, 0, 251]),
        // The unused elements of our list are zero.
        ("to 0.0.0.0", [0, 0, 0, 0]),
    ] {
        let to = IpAddr::V4(address.into());
        let packet = packet(CLIENT_V4.into(), to, CLIENT_PORT, 53, &message(WEB, A));
        cases.add(name, Reason::Destination, packet);
    }
    cases.v4("total length 27", Reason::Length, |packet| {
        packet[L3 + 2..L3 + 4].copy_from_slice(&[0, 27]);
    });
    cases.v4("total length one too many", Reason::Length, |packet| {
        packet[L3 + 3] += 1;
    });
    cases.v4("total length one too few", Reason::Length, |packet| {
        packet[L3 + 3] -= 1;
    });
    cases.v4("cut at the end", Reason::Length, |packet| {
        packet.pop();
    });
}

fn ipv6(cases: &mut Cases) {
    for (name, next_header) in [
        ("hop-by-hop options", 0),
        ("a fragment header", 44),
        ("TCP over IPv6", 6),
        ("ICMPv6", 58),
        ("no next header", 59),
    ] {
        cases.v6(name, Reason::NotUdp, |packet| packet[L3 + 6] = next_header);
    }
    for version in [4, 5, 7, 14] {
        let name = format!("version {version} in an IPv6 header");
        cases.v6(&name, Reason::IpOptions, |packet| {
            packet[L3] = version << 4;
        });
    }
    for (name, address) in [
        ("from ::", Ipv6Addr::UNSPECIFIED),
        ("from ::1", Ipv6Addr::LOCALHOST),
        ("from ff02::1", Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
        ("from our own IPv6 address", SERVER_V6),
    ] {
        let packet = packet(
            address.into(),
            SERVER_V6.into(),
            CLIENT_PORT,
            53,
            &message(WEB, A),
        );
        cases.add(name, Reason::Source, packet);
    }
    for (name, address) in [
        (
            "to another IPv6 address",
            Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xb),
        ),
        ("to ff02::fb", Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)),
        ("to ::", Ipv6Addr::UNSPECIFIED),
    ] {
        let packet = packet(
            CLIENT_V6.into(),
            address.into(),
            CLIENT_PORT,
            53,
            &message(WEB, A),
        );
        cases.add(name, Reason::Destination, packet);
    }
    cases.v6("payload length one too many", Reason::Length, |packet| {
        packet[L3 + 5] += 1;
    });
    cases.v6("payload length 0", Reason::Length, |packet| {
        packet[L3 + 4..L3 + 6].fill(0);
    });
    cases.v6("cut at the end, IPv6", Reason::Length, |packet| {
        packet.pop();
    });
}

fn udp(cases: &mut Cases) {
    for port in [0, 53] {
        let query = message(WEB, A);
        let from = |client: IpAddr, server: IpAddr| packet(client, server, port, 53, &query);
        cases.add(
            format!("from port {port}"),
            Reason::SourcePort,
            from(CLIENT_V4.into(), SERVER_V4.into()),
        );
        cases.add(
            format!("from port {port}, IPv6"),
            Reason::SourcePort,
            from(CLIENT_V6.into(), SERVER_V6.into()),
        );
    }
    cases.v4("to port 54", Reason::NotDns, |packet| {
        packet[UDP_V4 + 3] = 54;
    });
    cases.v4(
        "to port 13568, 53 the wrong way round",
        Reason::NotDns,
        |packet| {
            packet[UDP_V4 + 2..UDP_V4 + 4].copy_from_slice(&[53, 0]);
        },
    );
    cases.v4(
        "to port 309, whose low byte is 53",
        Reason::NotDns,
        |packet| {
            packet[UDP_V4 + 2..UDP_V4 + 4].copy_from_slice(&309u16.to_be_bytes());
        },
    );
    cases.v6("to port 309, IPv6", Reason::NotDns, |packet| {
        packet[UDP_V6 + 2..UDP_V6 + 4].copy_from_slice(&309u16.to_be_bytes());
    });
    cases.v6("to port 5353", Reason::NotDns, |packet| {
        packet[UDP_V6 + 2..UDP_V6 + 4].copy_from_slice(&5353u16.to_be_bytes());
    });
    cases.v4("UDP length 7", Reason::Length, |packet| {
        packet[UDP_V4 + 4..UDP_V4 + 6].copy_from_slice(&[0, 7]);
    });
    cases.v4(
        "IP and UDP lengths of half a header",
        Reason::Length,
        |packet| {
            packet[L3 + 2..L3 + 4].copy_from_slice(&[0, 24]);
            packet[UDP_V4 + 4..UDP_V4 + 6].copy_from_slice(&[0, 4]);
        },
    );
    cases.v6("the same, IPv6", Reason::Length, |packet| {
        packet[L3 + 4..L3 + 6].copy_from_slice(&[0, 4]);
        packet[UDP_V6 + 4..UDP_V6 + 6].copy_from_slice(&[0, 4]);
    });
    cases.v4("UDP length one too many", Reason::Length, |packet| {
        packet[UDP_V4 + 5] += 1;
    });
    cases.v4("UDP length one too few", Reason::Length, |packet| {
        packet[UDP_V4 + 5] -= 1;
    });
    cases.v6("UDP length one too many, IPv6", Reason::Length, |packet| {
        packet[UDP_V6 + 5] += 1;
    });
    cases.message("an empty datagram", Reason::Length, &[]);
    cases.message("eleven bytes", Reason::Length, &message(WEB, A)[..11]);
    cases.padded("eleven bytes", Reason::Length, &message(WEB, A), 11);
    cases.v4("cut in the UDP header", Reason::Length, |packet| {
        packet.truncate(UDP_V4 + 4);
    });
    cases.v4("cut in the DNS header", Reason::Length, |packet| {
        packet.truncate(DNS_V4 + 6);
    });
    cases.v6("cut in the name", Reason::Length, |packet| {
        packet.truncate(DNS_V6 + 20);
    });
}

fn header(cases: &mut Cases) {
    let mut with = |name: &str, reason, change: fn(&mut Vec<u8>)| {
        let mut message = message(WEB, A);
        change(&mut message);
        cases.message(name, reason, &message);
    };
    with("a response", Reason::Response, |m| m[2] |= 0x80);
    with("a response with RCODE 3", Reason::Response, |m| {
        m[2] |= 0x84;
        m[3] |= 3;
    });
    with("opcode 1", Reason::Opcode, |m| m[2] |= 1 << 3);
    with("opcode 2", Reason::Opcode, |m| m[2] |= 2 << 3);
    with("NOTIFY", Reason::Opcode, |m| m[2] |= 4 << 3);
    with("UPDATE", Reason::Opcode, |m| m[2] |= 5 << 3);
    with("opcode 8", Reason::Opcode, |m| m[2] |= 8 << 3);
    with("opcode 15", Reason::Opcode, |m| m[2] |= 15 << 3);
    with("TC", Reason::TruncatedQuery, |m| m[2] |= 2);
    with("no question", Reason::Counts, |m| m[5] = 0);
    with("two questions", Reason::Counts, |m| {
        m[5] = 2;
        let question = m[12..].to_vec();
        m.extend_from_slice(&question);
    });
    with("257 questions", Reason::Counts, |m| m[4] = 1);
    with("ANCOUNT 1", Reason::Counts, |m| m[7] = 1);
    with("ANCOUNT 256", Reason::Counts, |m| m[6] = 1);
    with("NSCOUNT 1", Reason::Counts, |m| m[9] = 1);
    with("NSCOUNT 256", Reason::Counts, |m| m[8] = 1);
    with("ARCOUNT 2", Reason::Counts, |m| {
        *m = with_opt(with_opt(m.clone(), 1232, false, &[]), 1232, false, &[]);
    });
    with("ARCOUNT 256", Reason::Counts, |m| m[10] = 1);
    with("ARCOUNT 257", Reason::Counts, |m| {
        *m = with_opt(m.clone(), 1232, false, &[]);
        m[10] = 1;
    });
    with("ARCOUNT 1 and nothing there", Reason::Edns, |m| m[11] = 1);
    with("only a header", Reason::Name, |m| m.truncate(12));
}

fn question(cases: &mut Cases) {
    let mut class = message(WEB, A);
    let end = class.len();
    for (name, value) in [
        ("CHAOS", [0, 3]),
        ("NONE", [0, 254]),
        ("ANY", [0, 255]),
        ("256", [1, 0]),
    ] {
        class[end - 2..].copy_from_slice(&value);
        cases.message(&format!("class {name}"), Reason::Class, &class);
    }
    let mut question = |name: &str, reason, wire: &[u8]| {
        cases.message(name, reason, &message_of(wire, A));
    };
    question(
        "a name that is a pointer",
        Reason::UnknownName,
        &[0xc0, 0x0c, 0],
    );
    question(
        "a name with a pointer",
        Reason::UnknownName,
        b"\x03web\xc0\x10\0",
    );
    question(
        "a label of 64",
        Reason::UnknownName,
        &[&[64u8][..], &[b'a'; 64], &[0]].concat(),
    );
    question(
        "a label that is too long",
        Reason::UnknownName,
        b"\x30web\0",
    );
    question("the root", Reason::UnknownName, &[0]);
    let label = [&[63u8][..], &[b'x'; 63]].concat();
    let longest = [&label[..], &label, &label, &[61], &[b'y'; 61], &[0]].concat();
    question("255 bytes", Reason::UnknownName, &longest);
    let too_long = [&label[..], &label, &label, &[62], &[b'y'; 62], &[0]].concat();
    question("256 bytes", Reason::Name, &too_long);
    question(
        "300 bytes",
        Reason::Name,
        &[&label[..], &label, &label, &label, &label, &[0]].concat(),
    );
    question("no end", Reason::Name, &[b'a'; 300]);
    // What follows the zero byte is not a type and a class.
    question(
        "a zero byte within a label",
        Reason::Class,
        b"\x03w\0b\x04shop\x03svc\x07cluster\x05local\0",
    );
    let whole = message(WEB, A);
    for missing in 1..=4 {
        let cut = &whole[..whole.len() - missing];
        cases.message(
            &format!("{missing} bytes of type and class are missing"),
            Reason::Name,
            cut,
        );
    }
    for missing in [1, 2, 4] {
        let name = format!("{missing} bytes of type and class are missing");
        cases.padded(&name, Reason::Name, &whole, whole.len() - missing);
    }
    let mut trailing = whole.clone();
    trailing.push(0);
    cases.message("a trailing byte", Reason::Trailing, &trailing);
    let opt_uncounted = with_opt(whole.clone(), 1232, false, &[]);
    let mut opt_uncounted = opt_uncounted;
    opt_uncounted[11] = 0;
    cases.message(
        "an OPT that is not counted",
        Reason::Trailing,
        &opt_uncounted,
    );
}

/// An OPT that goes on in the padding.
fn cut_opt(cases: &mut Cases) {
    let plain = message(WEB, A);
    let opt = plain.len();
    let whole = with_opt(plain.clone(), 1232, false, &[0, 12, 0, 1, 7]);
    for missing in [1, 2, 4, 6] {
        let name = format!("an OPT without its last {missing} bytes");
        // Its option is cut, or it is cut itself.
        let len = whole.len() - missing;
        let reason = if len < opt + 11 {
            Reason::Edns
        } else {
            Reason::Trailing
        };
        cases.padded(&name, reason, &whole, len);
    }
    let opt_alone = with_opt(plain.clone(), 1232, false, &[]);
    cases.padded(
        "an OPT without its last byte",
        Reason::Edns,
        &opt_alone,
        opt + 10,
    );
}

fn edns(cases: &mut Cases) {
    let plain = message(WEB, A);
    let opt = plain.len();
    let (nsid, padding) = ([0, 3, 0, 0], [0, 12, 0, 0]);
    let mut with = |name: &str, reason, options: &[u8], change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = with_opt(plain.clone(), 1232, false, options);
        change(&mut message);
        cases.message(name, reason, &message);
    };
    with("EDNS version 1", Reason::Edns, &[], &|m| m[opt + 6] = 1);
    with("EDNS version 255", Reason::Edns, &[], &|m| m[opt + 6] = 255);
    with("an additional A record", Reason::Edns, &[], &|m| {
        m[opt + 2] = 1;
    });
    with("a TSIG record", Reason::Edns, &[], &|m| m[opt + 2] = 250);
    with("type 297, OPT's low byte", Reason::Edns, &[], &|m| {
        m[opt + 1] = 1;
    });
    with(
        "an OPT that is not owned by the root",
        Reason::Edns,
        &[],
        &|m| {
            m.splice(opt..=opt, [1, b'x', 0]);
        },
    );
    with(
        "an OPT whose owner is one byte, and not zero",
        Reason::Edns,
        &[],
        &|m| m[opt] = 1,
    );
    with(
        "an OPT whose owner is a pointer to a root",
        Reason::Edns,
        &[],
        &|m| {
            m.splice(opt..=opt, [0xc0, 12 + 27]);
        },
    );
    with("an OPT that is cut", Reason::Edns, &[], &|m| {
        m.pop();
    });
    with("a byte behind the OPT", Reason::Trailing, &[], &|m| {
        m.push(0);
    });
    with("options beyond the end", Reason::Trailing, &[], &|m| {
        m[opt + 10] = 4;
    });
    with(
        "options that are shorter than said",
        Reason::Trailing,
        &padding,
        &|m| m[opt + 10] = 8,
    );
    // Who asks which server it is, is told by the socket.
    with("NSID", Reason::Edns, &nsid, &|_| ());
    let last = [&padding[..], &padding, &padding, &nsid].concat();
    with("NSID behind three options", Reason::Edns, &last, &|_| ());
    with("half an option", Reason::Edns, &[0, 12], &|_| ());
    with(
        "an option that is cut",
        Reason::Edns,
        &[0, 12, 0, 4, 1, 2],
        &|_| (),
    );
    with(
        "a cookie of 7 bytes",
        Reason::Edns,
        &[0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7],
        &|_| (),
    );
    with(
        "a cookie of 9 bytes",
        Reason::Edns,
        &[0, 10, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        &|_| (),
    );
    for bytes in [0, 15, 41] {
        let cookie = [&[0, 10, 0, bytes][..], &vec![7; bytes.into()]].concat();
        let name = format!("a cookie of {bytes} bytes");
        with(&name, Reason::Edns, &cookie, &|_| ());
    }
    with("five options", Reason::Edns, &padding.repeat(5), &|_| ());
}

fn names(cases: &mut Cases) {
    let mut ask = |name: &str, qtype: u16, reason| {
        cases.message(&format!("{name} {qtype}"), reason, &message(name, qtype));
    };
    ask("web.shop.svc.cluster.loca", A, Reason::UnknownName);
    ask("web.shop.svc.cluster.local.x", A, Reason::UnknownName);
    ask("example.com", A, Reason::UnknownName);
    ask("local", A, Reason::UnknownName);
    // Not a label of ours: "xcluster" ends like "cluster".
    ask("web.shop.svc.xcluster.local", A, Reason::UnknownName);
    ask("a.pod.cluster.local", A, Reason::UnknownName);
    ask("10-0-0-1.shop.pod.cluster.local", A, Reason::UnknownName);
    // Reverse zones are not complete in the kernel.
    ask("9.9.9.10.in-addr.arpa", PTR, Reason::UnknownName);
    ask("1.10.in-addr.arpa", PTR, Reason::UnknownName);
    ask("in-addr.arpa", SOA, Reason::SocketOnly);
    ask("cluster.local", SOA, Reason::SocketOnly);
    ask("cluster.local", NS, Reason::SocketOnly);
    ask("outside.shop.svc.cluster.local", A, Reason::SocketOnly);
    ask("outside.shop.svc.cluster.local", CNAME, Reason::SocketOnly);
    // Aliases: the CNAME alone, or with another CNAME, or with what the kernel does not know of the target.
    for (alias, qtype) in [
        ("to-db", SRV),
        ("to-web", SOA),
        ("to-alias", A),
        ("to-alias", CNAME),
        ("to-itself", A),
        ("to-nobody", A),
        ("to-nobody", CNAME),
        ("to-nothing", TXT),
    ] {
        let name = format!("{alias}.shop.svc.cluster.local");
        ask(&name, qtype, Reason::SocketOnly);
    }
    ask("pod.cluster.local", A, Reason::SocketOnly);
    ask(WEB, SRV, Reason::SocketOnly);
    // 90 targets are more than the kernel holds.
    ask("throng.shop.svc.cluster.local", SRV, Reason::SocketOnly);
    for qtype in [0, 41, 128, 249, 250, 251, 252, 255] {
        ask(WEB, qtype, Reason::Type);
        ask("nothing.cluster.local", qtype, Reason::Type);
    }
}
