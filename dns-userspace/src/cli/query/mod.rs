//! `hopzero query`: asks a server, and prints like `dig +short`.

mod client;
mod print;

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};

/// No reply came. Below the codes for RCODEs, above those of usage (2) and other errors (1).
const EXIT_NO_REPLY: u8 = 9;
/// NOERROR is 0; any other RCODE is this plus its number.
const EXIT_RCODE: u16 = 10;

const AFTER_HELP: &str = "\
Examples:
  hopzero query web.shop.svc.cluster.local
  hopzero query web.shop.svc.cluster.local AAAA
  hopzero query _http._tcp.web.shop.svc.cluster.local SRV
  hopzero query 10.96.0.10                  the PTR record of an address
  hopzero query --server 10.96.0.10:53 --json dns-version.cluster.local TXT

  if hopzero query --timeout 1 web.shop.svc.cluster.local >/dev/null; then echo up; fi

NAME is taken as it is: no search path is added.

Exit status, for scripts:
   0  NOERROR, also without records of the type (NODATA)
   1  another error
   2  wrong command line
   9  no reply in time
  11  FORMERR     12  SERVFAIL     13  NXDOMAIN     14  NOTIMP     15  REFUSED
      and 10 + RCODE for any other";

/// Ask a DNS server.
#[derive(Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Name to ask for, or an IP address to find the name of.
    name: String,

    /// Record type, such as A, AAAA, SRV or TYPE65 [default: A; PTR for an address].
    #[arg(value_name = "TYPE", value_parser = parse_type)]
    rtype: Option<RecordType>,

    /// Server to ask.
    #[arg(long, value_name = "ADDR:PORT", default_value = super::SERVER_DEFAULT, value_parser = super::parse_socket)]
    server: SocketAddr,

    /// Ask over TCP at once; otherwise only where the answer over UDP is truncated.
    #[arg(long)]
    tcp: bool,

    /// How long to wait for a reply.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_timeout)]
    timeout: Duration,

    /// Print the whole reply as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let (name, rtype) = match question(&args.name, args.rtype) {
        Ok(question) => question,
        Err(reason) => {
            let message = format!("invalid value '{}' for <NAME>: {reason}", args.name);
            <Args as clap::CommandFactory>::command()
                .bin_name("hopzero query")
                .error(clap::error::ErrorKind::InvalidValue, message)
                .exit()
        }
    };
    let exchange = match client::ask(args.server, &name, rtype, args.tcp, args.timeout) {
        Ok(exchange) => exchange,
        Err(error) => {
            eprintln!("hopzero: {error}");
            return Ok(ExitCode::from(EXIT_NO_REPLY));
        }
    };
    if args.json {
        print::json(&exchange)?;
    } else {
        print::short(&exchange)?;
    }
    Ok(exit_code(exchange.reply.metadata.response_code))
}

/// What is asked for: an address without a type means its reverse name.
fn question(text: &str, rtype: Option<RecordType>) -> Result<(Name, RecordType), String> {
    if rtype.is_none()
        && let Ok(address) = text.parse::<IpAddr>()
    {
        return Ok((Name::from(address), RecordType::PTR));
    }
    let mut name = Name::from_ascii(text).map_err(|error| error.to_string())?;
    name.set_fqdn(true);
    Ok((name, rtype.unwrap_or(RecordType::A)))
}

fn exit_code(rcode: ResponseCode) -> ExitCode {
    let code = match u16::from(rcode) {
        0 => 0,
        rcode => u8::try_from(EXIT_RCODE.saturating_add(rcode)).unwrap_or(u8::MAX),
    };
    ExitCode::from(code)
}

fn parse_type(text: &str) -> Result<RecordType, String> {
    let text = text.to_ascii_uppercase();
    // RFC 3597 section 5: types without a name.
    if let Some(number) = text.strip_prefix("TYPE")
        && let Ok(number) = number.parse::<u16>()
    {
        return Ok(RecordType::from(number));
    }
    text.parse()
        .map_err(|_| "expected a record type, such as A, AAAA, PTR, SRV, TXT or TYPE65".to_owned())
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (0.001..=3600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected seconds, such as 2 or 0.5, at most 3600".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        let table = [
            ("web.shop", None, "web.shop.", RecordType::A),
            (
                "Web.shop.",
                Some(RecordType::SRV),
                "Web.shop.",
                RecordType::SRV,
            ),
            (
                "10.96.0.10",
                None,
                "10.0.96.10.in-addr.arpa.",
                RecordType::PTR,
            ),
            (
                "10.96.0.10",
                Some(RecordType::A),
                "10.96.0.10.",
                RecordType::A,
            ),
            (".", None, ".", RecordType::A),
        ];
        for (text, rtype, name, expected) in table {
            let (asked, rtype) = question(text, rtype).unwrap();
            assert_eq!(
                (asked.to_ascii().as_str(), rtype),
                (name, expected),
                "{text}"
            );
        }
        let (reverse, _) = question("fd00::a", None).unwrap();
        assert!(
            reverse.to_ascii().starts_with("a.0.0.0.")
                && reverse.to_ascii().ends_with("d.f.ip6.arpa.")
        );
        for invalid in ["a..b".to_owned(), "a".repeat(64)] {
            assert!(question(&invalid, None).is_err(), "{invalid}");
        }
    }

    #[test]
    fn types() {
        assert_eq!(parse_type("aaaa"), Ok(RecordType::AAAA));
        assert_eq!(parse_type("TYPE28"), Ok(RecordType::AAAA));
        assert_eq!(parse_type("type65280"), Ok(RecordType::Unknown(65280)));
        assert!(parse_type("TYPE65536").is_err() && parse_type("nonsense").is_err());
    }
}
