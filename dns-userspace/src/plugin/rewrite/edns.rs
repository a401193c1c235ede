//! `edns0`: the EDNS options of the query.
//!
//! ```text
//! edns0 local  set|append|replace CODE DATA|{VARIABLE} [revert]
//! edns0 nsid   set|append|replace [revert]
//! edns0 subnet set|append|replace BITS4 BITS6 [revert]
//! edns0 local unset CODE | edns0 nsid unset | edns0 subnet unset
//! ```
//!
//! `replace` needs the option to be there, `append` adds another one, `set` does the one or the other. `revert` takes
//! the option out of the reply, or gives it there the data that it had in the query.

use std::net::IpAddr;

use super::answer::Change;
use crate::{
    corefile::{Fault, Word},
    plugin::{
        Request,
        request::{EDNS_BYTES_OURS, Edns},
        text,
    },
    socket::Transport,
};

const NSID: u16 = 3;
const SUBNET: u16 = 8;

/// One rule.
pub(super) struct EdnsRule {
    action: Action,
    code: u16,
    data: Data,
    revert: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Action {
    Set,
    Append,
    Replace,
    Unset,
}

/// What the option holds.
enum Data {
    Bytes(Vec<u8>),
    Variable(Variable),
    /// The client's network (RFC 7871): how many bits of an IPv4 and an IPv6 address.
    Subnet(u8, u8),
}

#[derive(Clone, Copy)]
enum Variable {
    QueryName,
    QueryType,
    ClientIp,
    ClientPort,
    ServerIp,
    ServerPort,
    Protocol,
}

impl EdnsRule {
    /// Reads what stands behind `edns0`.
    pub(super) fn read(args: &[&Word], wrong: impl Fn(&str) -> Fault) -> Result<Self, Fault> {
        let [kind, action, rest @ ..] = args else {
            return Err(wrong("local, nsid or subnet, and an action"));
        };
        let action = match action.text.to_ascii_lowercase().as_str() {
            "set" => Action::Set,
            "append" => Action::Append,
            "replace" => Action::Replace,
            "unset" => Action::Unset,
            _ => return Err(action.not("set, append, replace or unset")),
        };
        let (rest, revert) = match rest.split_last() {
            Some((last, rest)) if last.text == "revert" && action != Action::Unset => (rest, true),
            _ => (rest, false),
        };
        let nothing = Data::Bytes(Vec::new());
        let (code, data) = match (kind.text.to_ascii_lowercase().as_str(), rest) {
            ("local", [code]) if action == Action::Unset => (number(code)?, nothing),
            ("local", [code, data]) if action != Action::Unset => (number(code)?, local(data)?),
            ("nsid", []) => (NSID, nothing),
            ("subnet", []) if action == Action::Unset => (SUBNET, nothing),
            ("subnet", [v4, v6]) if action != Action::Unset => {
                (SUBNET, Data::Subnet(bits(v4, 32)?, bits(v6, 128)?))
            }
            ("local", _) => {
                return Err(wrong(
                    "local ACTION CODE DATA [revert], or local unset CODE",
                ));
            }
            ("nsid", _) => return Err(wrong("nsid ACTION [revert]")),
            ("subnet", _) => {
                return Err(wrong("subnet ACTION BITS4 BITS6 [revert], or subnet unset"));
            }
            _ => return Err(kind.not("local, nsid or subnet")),
        };
        Ok(EdnsRule {
            action,
            code,
            data,
            revert,
        })
    }

    /// Changes the query's options; whether there was something to change.
    pub(super) fn apply(&self, request: &mut Request, changes: &mut Vec<Change<'_>>) -> bool {
        let data = self.data(request);
        let edns = request.edns.get_or_insert_with(|| Edns {
            udp_bytes: EDNS_BYTES_OURS,
            version: 0,
            dnssec_ok: false,
            options: Box::default(),
        });
        let mut options: Vec<(u16, Vec<u8>)> = edns
            .options()
            .map(|(code, data)| (code, data.to_vec()))
            .collect();
        let found = options.iter_mut().find(|(code, _)| *code == self.code);
        let was = match (self.action, found) {
            (Action::Unset, _) => {
                options.retain(|(code, _)| *code != self.code);
                edns.set_options(&options);
                return true;
            }
            (Action::Set | Action::Replace, Some((_, old))) => Some(std::mem::replace(old, data)),
            (Action::Append, Some(_)) if !matches!(self.data, Data::Bytes(_)) => return false,
            (Action::Set | Action::Append, _) => {
                options.push((self.code, data));
                None
            }
            (Action::Replace, None) => return false,
        };
        edns.set_options(&options);
        if self.revert {
            changes.push(Change::Option {
                code: self.code,
                was,
            });
        }
        true
    }

    fn data(&self, request: &Request) -> Vec<u8> {
        let address = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        match &self.data {
            Data::Bytes(bytes) => bytes.clone(),
            Data::Variable(variable) => match variable {
                Variable::QueryName => text::show(&request.name).into_bytes(),
                Variable::QueryType => u16::from(request.rtype).to_be_bytes().to_vec(),
                Variable::ClientIp => address(request.client.ip()),
                Variable::ClientPort => request.client.port().to_be_bytes().to_vec(),
                Variable::ServerIp => address(request.local.ip()),
                Variable::ServerPort => request.local.port().to_be_bytes().to_vec(),
                Variable::Protocol => match request.transport {
                    Transport::Udp => b"udp".to_vec(),
                    Transport::Tcp => b"tcp".to_vec(),
                },
            },
            Data::Subnet(v4, v6) => {
                let (family, bits) = match request.client.ip() {
                    IpAddr::V4(_) => (1, *v4),
                    IpAddr::V6(_) => (2, *v6),
                };
                let mut bytes = address(request.client.ip());
                bytes.truncate(usize::from(bits.div_ceil(8)));
                if let (Some(last), spare @ 1..) = (bytes.last_mut(), bits.wrapping_neg() % 8) {
                    *last &= 0xff << spare;
                }
                [&[0, family, bits, 0][..], &bytes].concat()
            }
        }
    }
}

fn local(word: &Word) -> Result<Data, Fault> {
    let text = word.text.as_str();
    if let Some(name) = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
    {
        let variable = match name {
            "qname" => Variable::QueryName,
            "qtype" => Variable::QueryType,
            "client_ip" => Variable::ClientIp,
            "client_port" => Variable::ClientPort,
            "server_ip" => Variable::ServerIp,
            "server_port" => Variable::ServerPort,
            "protocol" => Variable::Protocol,
            _ => {
                let known = "{qname}, {qtype}, {client_ip}, {client_port}, {server_ip}, \
                             {server_port} or {protocol}";
                return Err(word.not(known));
            }
        };
        return Ok(Data::Variable(variable));
    }
    let Some(digits) = text.strip_prefix("0x") else {
        return Ok(Data::Bytes(text.as_bytes().to_vec()));
    };
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    bytes
        .map(Data::Bytes)
        .ok_or_else(|| word.not("an even number of hexadecimal digits"))
}

/// As Go reads numbers: the prefix says the base.
fn number(word: &Word) -> Result<u16, Fault> {
    let text = word.text.to_ascii_lowercase();
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x', ..] => (&text[2..], 16),
        [b'0', b'b', ..] => (&text[2..], 2),
        [b'0', b'o', ..] => (&text[2..], 8),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (&text[..], 10),
    };
    u16::from_str_radix(digits, base).map_err(|_| word.not("a number of 16 bits, such as 0xffee"))
}

fn bits(word: &Word, max: u16) -> Result<u8, Fault> {
    let bits = number(word).ok().filter(|bits| *bits <= max);
    bits.and_then(|bits| bits.try_into().ok())
        .ok_or_else(|| word.not(&format!("0 to {max} bits")))
}
