//! Queries: names of a configuration, near misses, every type, every form of EDNS.

use std::fmt;

use hickory_proto::rr::RecordType;

/// Types, the usual ones more often.
const TYPES: [u16; 24] = [
    1, 1, 1, 1, 1, 28, 28, 28, 28, 5, 2, 6, 12, 12, 15, 16, 33, 33, 255, 43, 48, 13, 65, 65_280,
];
/// An unknown option, a cookie, NSID, a client's subnet; each well-formed.
const OPTIONS: [&[u8]; 4] = [
    &[0xfd, 0xe9, 0, 2, 1, 2],
    &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
    &[0, 3, 0, 0],
    &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2],
];

/// The first line of `names` where TCP cannot be compared.
const UDP_ONLY: &str = "# over UDP only: the client's port is part of the answer";

/// A query, with what it consists of.
pub struct Asked {
    /// In the case in which it is asked.
    pub name: String,
    /// TYPE
    pub rtype: u16,
    /// CLASS
    pub class: u16,
    /// Else over UDP.
    pub is_over_tcp: bool,
    /// Its OPT record.
    pub edns: Option<Edns>,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.is_over_tcp { "tcp" } else { "udp" };
        write!(
            f,
            "{transport} {} {}",
            self.name,
            RecordType::from(self.rtype)
        )?;
        if self.class != 1 {
            write!(f, " class {}", self.class)?;
        }
        if let Some(edns) = &self.edns {
            write!(f, " edns{} {}", edns.version, edns.size)?;
            if edns.dnssec_ok {
                write!(f, " do")?;
            }
            for byte in edns.options {
                write!(f, "{byte:02x}")?;
            }
        }
        write!(f, " flags {:02x}{:02x}", self.bytes[2], self.bytes[3])
    }
}

impl Asked {
    /// Whether a question has the name in the case in which it was asked.
    pub fn is_spelt_in(&self, question: &str) -> bool {
        question.contains(&format!("{:?}", format!("{}.", self.name)))
            || question.contains(&self.name)
    }

    /// A query without anything special, over UDP.
    pub fn plain(name: &str, rtype: u16) -> Self {
        Asked {
            name: name.to_owned(),
            rtype,
            class: 1,
            is_over_tcp: false,
            edns: None,
            bytes: message(1, [1, 0], name, rtype, 1, None),
        }
    }
}

/// Its OPT record.
pub struct Edns {
    /// What the client takes.
    pub size: u16,
    /// VERSION
    pub version: u8,
    /// DO
    pub dnssec_ok: bool,
    /// As they stand there.
    pub options: &'static [u8],
}

/// All queries of a configuration, always the same.
pub struct Questions<'a> {
    names: Vec<&'a str>,
    random: fastrand::Rng,
    tcp_one_in: Option<u32>,
    id: u16,
}

impl<'a> Questions<'a> {
    /// Of these names, one a line.
    pub fn new(names: &'a str) -> Self {
        Questions {
            names: (names.lines())
                .filter(|line| !line.is_empty() && *line != UDP_ONLY)
                .collect(),
            tcp_one_in: if names.starts_with(UDP_ONLY) {
                None
            } else {
                Some(20)
            },
            random: fastrand::Rng::with_seed(1),
            id: 0,
        }
    }

    fn name(&mut self) -> String {
        let name = self.names[self.random.usize(..self.names.len())];
        match self.random.usize(..16) {
            0 => format!("x.{name}"),
            1 => format!("_tcp.a.{name}"),
            2 => name
                .split_once('.')
                .map_or("", |(_, parent)| parent)
                .to_owned(),
            3 => name.replacen('a', "b", 1),
            4 => name.to_uppercase(),
            5 => {
                let mut toggle = false;
                let mixed = name.chars().map(|c| {
                    toggle = !toggle;
                    if toggle { c.to_ascii_uppercase() } else { c }
                });
                mixed.collect()
            }
            6 => format!("{name}.cluster.local"),
            _ => name.to_owned(),
        }
    }
}

impl Iterator for Questions<'_> {
    type Item = Asked;

    fn next(&mut self) -> Option<Asked> {
        self.id = self.id.wrapping_add(1).max(1);
        let name = self.name();
        let random = &mut self.random;
        let rtype = TYPES[random.usize(..TYPES.len())];
        let class: u16 = match random.usize(..40) {
            0 => 3,
            1 => 255,
            _ => 1,
        };
        let edns = random.bool().then(|| Edns {
            size: [100, 512, 1232, 4096][random.usize(..4)],
            version: u8::from(random.usize(..30) == 0),
            dnssec_ok: random.usize(..4) == 0,
            options: if random.usize(..6) == 0 {
                OPTIONS[random.usize(..OPTIONS.len())]
            } else {
                &[]
            },
        });
        let flags = [
            u8::from(random.usize(..10) != 0),
            u8::from(random.usize(..20) == 0) << 4 | u8::from(random.usize(..20) == 0) << 5,
        ];
        let bytes = message(self.id, flags, &name, rtype, class, edns.as_ref());
        Some(Asked {
            name,
            rtype,
            class,
            is_over_tcp: self
                .tcp_one_in
                .is_some_and(|count| random.u32(..count) == 0),
            edns,
            bytes,
        })
    }
}

/// On the wire (RFC 1035 section 4.1).
fn message(
    id: u16,
    flags: [u8; 2],
    name: &str,
    rtype: u16,
    class: u16,
    edns: Option<&Edns>,
) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(flags);
    bytes.extend([0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(rtype.to_be_bytes());
    bytes.extend(class.to_be_bytes());
    if let Some(edns) = edns {
        bytes.extend([0, 0, 41]);
        bytes.extend(edns.size.to_be_bytes());
        bytes.extend([0, edns.version, u8::from(edns.dnssec_ok) << 7, 0, 0]);
        bytes.push(u8::try_from(edns.options.len()).unwrap_or(0));
        bytes.extend(edns.options);
    }
    bytes
}
