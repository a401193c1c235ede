//! Packets that must be answered. The message that is expected is the socket's, the headers around it are made
//! by [`super::build`].

use std::{net::IpAddr, sync::RwLock};

use hopzero::zone::Zone;

use super::{
    Case, Expect,
    build::{
        A, AAAA, CLIENT_PORT, CLIENT_V4, CLIENT_V6, L3, PTR, SERVER_V4, SERVER_V6, answer, message,
        packet, v4, v6, with_opt,
    },
    world::{longest_label, socket_answer},
};

/// All cases.
pub fn cases(zone: Zone) -> Vec<Case> {
    let zone = RwLock::new(zone);
    let mut cases = Vec::new();
    for (name, message) in messages() {
        for (family, server, client) in [
            ("IPv4", IpAddr::V4(SERVER_V4), IpAddr::V4(CLIENT_V4)),
            ("IPv6", IpAddr::V6(SERVER_V6), IpAddr::V6(CLIENT_V6)),
        ] {
            let reply = socket_answer(&zone, &message);
            let packet = if server.is_ipv4() {
                v4(&message)
            } else {
                v6(&message)
            };
            cases.push(Case {
                name: format!("{name}, {family}"),
                packet,
                expect: Expect::Answer(answer(client, server, CLIENT_PORT, &reply)),
            });
        }
    }
    cases.extend(clients(&zone));
    cases.push(no_checksum(&zone));
    cases.push(padded(&zone));
    cases.push(literal());
    cases.push(literal_alias());
    cases
}

/// The same in a VLAN.
pub fn tagged_cases(zone: Zone) -> impl Iterator<Item = Case> {
    cases(zone).into_iter().map(Case::tagged)
}

/// Names and messages that the socket and the kernel answer alike.
fn messages() -> Vec<(String, Vec<u8>)> {
    let long = format!(
        "{}.{}.{}.svc.cluster.local",
        longest_label('h'),
        longest_label('s'),
        longest_label('n')
    );
    let questions: [(&str, u16); 14] = [
        ("web.shop.svc.cluster.local", A),
        ("WEB.Shop.sVc.cLuSTer.LOCal", A),
        ("dual.shop.svc.cluster.local", A),
        ("dual.shop.svc.cluster.local", AAAA),
        ("six.shop.svc.cluster.local", AAAA),
        ("db.shop.svc.cluster.local", A),
        ("db.shop.svc.cluster.local", AAAA),
        ("db-2.db.shop.svc.cluster.local", A),
        ("db-2.db.shop.svc.cluster.local", AAAA),
        (&long, A),
        ("1.1.96.10.in-addr.arpa", PTR),
        ("1.0.36.10.in-addr.arpa", PTR),
        (
            "2.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.IP6.arpa",
            PTR,
        ),
        ("9.9.1.10.in-addr.arpa", PTR),
    ];
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let padding = [0, 12, 0, 3, 0, 0, 0];
    let both = [cookie.as_slice(), &padding].concat();
    let option =
        |code: [u8; 2], bytes: u8| [&code[..], &[0, bytes], &vec![7; bytes.into()]].concat();
    let odd = [
        ("cookie of 16 bytes", option([0, 10], 16)),
        ("cookie of 40 bytes", option([0, 10], 40)),
        // Its low byte is a cookie's.
        ("option 266", option([1, 10], 7)),
        // Its low byte is NSID's.
        ("option 259", option([1, 3], 7)),
        ("four options", [0, 12, 0, 0].repeat(4)),
    ];
    let mut messages = Vec::new();
    for (name, qtype) in questions {
        let plain = message(name, qtype);
        let short = &name[..name.len().min(40)];
        let mut add = |what: &str, message: Vec<u8>| {
            messages.push((format!("{short} {qtype} {what}"), message));
        };
        add("without OPT", plain.clone());
        for size in [0, 511, 512, 1232, 4096, 65535] {
            add(
                &format!("OPT {size}"),
                with_opt(plain.clone(), size, false, &[]),
            );
        }
        add("OPT with DO", with_opt(plain.clone(), 1232, true, &[]));
        add("cookie", with_opt(plain.clone(), 1232, false, &cookie));
        add("two options", with_opt(plain.clone(), 1232, true, &both));
        for (what, options) in &odd {
            add(what, with_opt(plain.clone(), 1232, false, options));
        }
        for (what, byte2, byte3) in [
            ("RD off", 0x00, 0x00),
            ("AA set", 0x05, 0x00),
            ("RA, Z and AD set", 0x01, 0xe0),
            ("CD set", 0x01, 0x10),
            ("RCODE set", 0x01, 0x0f),
        ] {
            let mut flagged = plain.clone();
            (flagged[2], flagged[3]) = (byte2, byte3);
            add(what, flagged);
        }
    }
    messages.extend(negative());
    messages.extend(aliases());
    // Sizes: 60 addresses need EDNS, the whole of it.
    let crowd = "crowd.shop.svc.cluster.local";
    messages.push(("60 A".into(), with_opt(message(crowd, A), 1232, false, &[])));
    let fits = 12 + 30 + 4 + 60 * 16 + 11;
    messages.push((
        "60 A, just".into(),
        with_opt(message(crowd, A), fits, false, &[]),
    ));
    messages
}

/// Aliases of names in the zone: the CNAME, and the target's addresses, or a SOA if it has none of the family.
fn aliases() -> Vec<(String, Vec<u8>)> {
    const CNAME: u16 = 5;
    let questions: [(&str, &[u16]); 10] = [
        ("to-web", &[A, AAAA, CNAME]),
        ("TO-Web", &[A, AAAA, CNAME]),
        ("to-dual", &[A, AAAA, CNAME]),
        ("to-six", &[A, AAAA]),
        ("to-nothing", &[A, AAAA, CNAME]),
        ("to-db", &[A, AAAA, CNAME]),
        ("to-host", &[A, AAAA]),
        ("to-crowd", &[A, AAAA, CNAME]),
        ("to-throng", &[A, AAAA, CNAME]),
        ("To-Throng", &[A]),
    ];
    let mut messages = Vec::new();
    for (name, qtypes) in questions {
        for qtype in qtypes {
            let plain = message(&format!("{name}.shop.svc.cluster.local"), *qtype);
            // The last two are just enough, and one byte less, for 60 addresses behind a CNAME.
            let just = 12 + 33 + 4 + 12 + 30 + 60 * 16 + 11;
            for size in [512, 1232, just, just - 1] {
                messages.push((
                    format!("{name} {qtype}, OPT {size}"),
                    with_opt(plain.clone(), size, false, &[]),
                ));
            }
            messages.push((format!("{name} {qtype}"), plain));
        }
    }
    messages
}

/// Names and types that are denied, services and text, and what does not fit.
fn negative() -> Vec<(String, Vec<u8>)> {
    const SRV: u16 = 33;
    const TXT: u16 = 16;
    let questions: [(&str, &[u16]); 17] = [
        // NODATA: another type of a name, and empty non-terminals.
        (
            "web.shop.svc.cluster.local",
            &[AAAA, PTR, TXT, 6, 2, 65, 127, 256, 300],
        ),
        ("WEB.shop.SVC.cluster.LOCAL", &[AAAA, 65]),
        ("six.shop.svc.cluster.local", &[A]),
        ("db-1.db.shop.svc.cluster.local", &[PTR, SRV]),
        ("shop.svc.cluster.local", &[A, AAAA, TXT, SRV]),
        ("_tcp.web.shop.svc.cluster.local", &[A, SRV]),
        ("svc.cluster.local", &[A]),
        ("cluster.local", &[A, AAAA]),
        ("1.1.96.10.in-addr.arpa", &[A, TXT]),
        // NXDOMAIN, search-path expansions among them.
        ("nothing.shop.svc.cluster.local", &[A, AAAA, SRV, PTR]),
        ("www.example.com.shop.svc.cluster.local", &[A, AAAA]),
        ("www.Example.com.svc.CLUSTER.local", &[A]),
        ("x.cluster.local", &[A, 6]),
        (
            "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.cluster.local",
            &[A],
        ),
        // Services and text.
        ("_http._tcp.web.shop.svc.cluster.local", &[SRV, A]),
        ("_X._tcp.db.shop.svc.cluster.local", &[SRV]),
        ("dns-version.cluster.local", &[TXT, A]),
    ];
    let mut messages = Vec::new();
    for (name, qtypes) in questions {
        for qtype in qtypes {
            let plain = message(name, *qtype);
            let edns = with_opt(plain.clone(), 4096, true, &[]);
            messages.push((format!("{name} {qtype}"), plain));
            messages.push((format!("{name} {qtype}, OPT"), edns));
        }
    }
    // A name of 255 bytes that does not exist.
    let long = format!(
        "{}.{}.{}.{}.cluster.local",
        longest_label('q'),
        longest_label('r'),
        longest_label('s'),
        "t".repeat(47)
    );
    messages.push(("255 bytes".into(), message(&long, A)));
    // Truncated: more than the client takes, than an answer holds, than a record holds.
    let one_less = 12 + 30 + 4 + 60 * 16 + 11 - 1;
    for (name, qtype, size) in [
        ("crowd", A, None),
        ("crowd", A, Some(one_less)),
        ("crowd", AAAA, Some(4096)),
        ("mob", A, Some(4096)),
        ("throng", A, None),
        ("throng", AAAA, Some(65535)),
    ] {
        let plain = message(&format!("{name}.shop.svc.cluster.local"), qtype);
        let message = size.map_or(plain.clone(), |size| with_opt(plain, size, false, &[]));
        messages.push((format!("{name} {qtype} within {size:?}"), message));
    }
    messages
}

/// Clients whose addresses are next to those that nobody may have.
fn clients(zone: &RwLock<Zone>) -> Vec<Case> {
    let message = message("web.shop.svc.cluster.local", A);
    let reply = socket_answer(zone, &message);
    let clients = [
        "1.0.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "223.255.255.255",
        "10.96.0.9",
        "fd00:10:244::",
        "fd00:10:244::1",
        "::2",
        "::3",
        "0:0:0:1::",
        "fe80::1",
        "fd00:10:96::9",
    ];
    let case = |client: &str| {
        let client: IpAddr = client.parse().expect("an address");
        let server = if client.is_ipv4() {
            SERVER_V4.into()
        } else {
            SERVER_V6.into()
        };
        Case {
            name: format!("from {client}"),
            packet: packet(client, server, CLIENT_PORT, 53, &message),
            expect: Expect::Answer(answer(client, server, CLIENT_PORT, &reply)),
        }
    };
    clients.into_iter().map(case).collect()
}

/// A sum that would be sent as zero, which says "no checksum" (RFC 768), is sent as all ones.
fn no_checksum(zone: &RwLock<Zone>) -> Case {
    let (client, server) = (CLIENT_V6.into(), SERVER_V6.into());
    let mut message = message("web.shop.svc.cluster.local", A);
    message[..2].fill(0);
    let turned = answer(client, server, CLIENT_PORT, &socket_answer(zone, &message));
    // The ID is a word of the sum: with the missing part in it nothing is missing.
    message[..2].copy_from_slice(&turned[L3 + 46..L3 + 48]);
    let expected = answer(client, server, CLIENT_PORT, &socket_answer(zone, &message));
    assert_eq!(expected[L3 + 46..L3 + 48], [0xff; 2]);
    Case {
        name: "a checksum of zero".into(),
        packet: v6(&message),
        expect: Expect::Answer(expected),
    }
}

/// An Ethernet frame of the minimum length has bytes behind the datagram: they are not the message's.
fn padded(zone: &RwLock<Zone>) -> Case {
    let message = message("1.1.96.10.in-addr.arpa", PTR);
    let reply = socket_answer(zone, &message);
    let mut packet = v4(&message);
    packet.resize(packet.len() + 100, 0x77);
    Case {
        name: "padding behind the datagram".into(),
        packet,
        expect: Expect::Answer(answer(
            CLIENT_V4.into(),
            SERVER_V4.into(),
            CLIENT_PORT,
            &reply,
        )),
    }
}

/// One answer spelt out, so that the table does not rest on the socket alone.
fn literal() -> Case {
    let mut reply = vec![0x12, 0x34, 0x85, 0, 0, 1, 0, 1, 0, 0, 0, 1];
    reply.extend_from_slice(b"\x03wEb\x04shop\x03svc\x07cluster\x05local\0\0\x01\0\x01");
    reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x0a\x60\x01\x01");
    reply.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\x80\0\0\0");
    let query = with_opt(message("wEb.shop.svc.cluster.local", A), 4096, true, &[]);
    Case {
        name: "spelt out".into(),
        packet: v4(&query),
        expect: Expect::Answer(answer(
            CLIENT_V4.into(),
            SERVER_V4.into(),
            CLIENT_PORT,
            &reply,
        )),
    }
}

/// The same for an alias: the target is spelt as the service spells it, and its addresses point there.
fn literal_alias() -> Case {
    let mut reply = vec![0x12, 0x34, 0x85, 0, 0, 1, 0, 2, 0, 0, 0, 0];
    reply.extend_from_slice(b"\x06to-weB\x04shop\x03svc\x07cluster\x05local\0\0\x01\0\x01");
    reply.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x05\0\x1c");
    assert_eq!(reply.len(), 0x3b);
    reply.extend_from_slice(b"\x03WEB\x04Shop\x03svc\x07cluster\x05local\0");
    reply.extend_from_slice(b"\xc0\x3b\0\x01\0\x01\0\0\0\x05\0\x04\x0a\x60\x01\x01");
    Case {
        name: "an alias, spelt out".into(),
        packet: v4(&message("to-weB.shop.svc.cluster.local", A)),
        expect: Expect::Answer(answer(
            CLIENT_V4.into(),
            SERVER_V4.into(),
            CLIENT_PORT,
            &reply,
        )),
    }
}
