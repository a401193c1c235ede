//! `whoami`: says who asked, in the additional section.

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record,
        rdata::{A, AAAA, SRV},
    },
};

use super::{Builder, Next, Outcome, Plugin, Reply, Request, Touch, args, reply::Flags};
use crate::{
    corefile::{Directive, Fault},
    socket::Transport,
};

struct Whoami;

/// Reads `whoami`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.exactly::<0>("no arguments")?;
    directive.no_block()?;
    builder.plugins.push(Box::new(Whoami));
    Ok(())
}

#[async_trait]
impl Plugin for Whoami {
    fn name(&self) -> &'static str {
        "whoami"
    }

    async fn serve(&self, request: &mut Request, _next: Next<'_>) -> Outcome {
        let address = match request.client.ip() {
            std::net::IpAddr::V4(address) => RData::A(A(address)),
            std::net::IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        let label = match request.transport {
            Transport::Udp => "_udp",
            Transport::Tcp => "_tcp",
        };
        let service = Name::from_labels([label.as_bytes()])
            .and_then(|name| name.append_domain(&request.name))
            .unwrap_or_else(|_| request.name.clone());
        let port = RData::SRV(SRV::new(0, 0, request.client.port(), Name::root()));
        let mut additionals = vec![
            Record::from_rdata(request.name.clone(), 0, address),
            Record::from_rdata(service, 0, port),
        ];
        for record in &mut additionals {
            record.dns_class = request.class.into();
        }
        Ok(Reply {
            flags: Flags {
                authoritative: true,
                ..Flags::default()
            },
            additionals,
            ..Reply::bare(ResponseCode::NoError)
        }
        .into())
    }

    fn touches(&self) -> Vec<Touch> {
        // It stands behind `kubernetes`.
        Vec::new()
    }
}
