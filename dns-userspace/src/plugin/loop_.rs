//! `loop`: ends the daemon if its upstreams ask it what it asks them.
//!
//! ```text
//! loop
//! ```
//!
//! At the start a query of type HINFO for a name that nobody can guess goes through the server block. Where it is seen
//! more than twice, an upstream has sent it back, and every query that is forwarded would go round until something
//! breaks.
//!
//! Only this name counts, in its case, and only until the query was answered, at most for 30 s; so a client has
//! nothing to stop the daemon with.
//!
//! What `CoreDNS` does differently: it sends the query over the network, to its first address; here it goes
//! through the plugins directly, which works for any address, and shows as coming from the unspecified one.

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hickory_proto::rr::{DNSClass, Name, RecordType};

use super::{Builder, Next, Outcome, Plugin, Request, Served, Site, Touch, args, request::Header};
use crate::{
    corefile::{Directive, Fault},
    socket::Transport,
    wire::write_name,
};

/// As long as answers may be missing.
const SEARCH_MAX: Duration = Duration::from_secs(30);
/// Between attempts that were not answered.
const PAUSE: Duration = Duration::from_secs(1);
/// After the answer: what goes round needs its time.
const AFTERTHOUGHT: Duration = Duration::from_secs(2);
/// Our own query, and one that came back by chance.
const SEEN_MAX: u32 = 2;

struct Loop(Arc<Search>);

struct Search {
    zone: Name,
    name: Name,
    seen: AtomicU32,
    /// Looking for a loop at all.
    is_on: AtomicBool,
    /// Where the server block is served, for the message.
    address: Mutex<String>,
    failures: super::builder::Failures,
}

/// Reads `loop`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.exactly::<0>("no arguments")?;
    directive.no_block()?;
    let zone = builder
        .keys
        .first()
        .map_or_else(Name::root, |key| key.zone.clone());
    let name = random_name(&zone)
        .map_err(|error| Fault::new(directive.span(), error, "a zone with room for two labels"))?;
    builder.plugins.push(Box::new(Loop(Arc::new(Search {
        zone,
        name,
        seen: AtomicU32::new(0),
        is_on: AtomicBool::new(false),
        address: Mutex::default(),
        failures: builder.environment.failures(),
    }))));
    Ok(())
}

/// Two numbers of 62 bits below the zone.
fn random_name(zone: &Name) -> Result<Name, String> {
    let mut name = zone.clone();
    for _ in 0..2 {
        let number = rand::random::<u64>() >> 2;
        name = name
            .prepend_label(number.to_string())
            .map_err(|error| error.to_string())?;
    }
    name.set_fqdn(true);
    Ok(name)
}

#[async_trait]
impl Plugin for Loop {
    fn name(&self) -> &'static str {
        "loop"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        if request.rtype == RecordType::HINFO {
            self.0.note(request);
        }
        next.run(request).await
    }

    fn touches(&self) -> Vec<Touch> {
        // It stands behind `kubernetes`.
        Vec::new()
    }

    fn start(&self, site: &Site) {
        let (search, site) = (Arc::downgrade(&self.0), site.clone());
        // Here and not in the task: the loop may be faster.
        *(self.0.address.lock()).unwrap_or_else(PoisonError::into_inner) = site.address();
        self.0.is_on.store(true, Relaxed);
        let name = self.0.name.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            while begun.elapsed() < SEARCH_MAX {
                let Some(chain) = site.plugins() else { return };
                let mut request = query(name.clone(), &site);
                let answer = Next::first(&chain).run(&mut request).await;
                drop(chain);
                if matches!(answer, Ok(Served::Reply(_))) {
                    tokio::time::sleep(AFTERTHOUGHT).await;
                    break;
                }
                let Some(search) = search.upgrade() else {
                    return;
                };
                search.seen.store(0, Relaxed);
                drop(search);
                tokio::time::sleep(PAUSE).await;
            }
            if let Some(search) = search.upgrade() {
                search.is_on.store(false, Relaxed);
            }
        });
    }
}

impl Search {
    fn note(&self, request: &Request) {
        if !self.is_on.load(Relaxed) || !request.name.eq_case(&self.name) {
            return;
        }
        if self.seen.fetch_add(1, Relaxed) < SEEN_MAX {
            return;
        }
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        self.failures.fatal(format!(
            "plugin/loop: Loop ({} -> {address}) detected for zone \"{}\", see \
             https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO {}\"",
            request.client, self.zone, self.name
        ));
    }
}

/// The query as if it came from nowhere.
fn query(name: Name, site: &Site) -> Request {
    let mut question = Vec::new();
    write_name(&mut question, &name);
    question.extend_from_slice(&u16::from(RecordType::HINFO).to_be_bytes());
    question.extend_from_slice(&u16::from(DNSClass::IN).to_be_bytes());
    let nowhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    Request {
        client: nowhere,
        local: nowhere,
        transport: Transport::Udp,
        header: Header {
            id: rand::random(),
            opcode: 0,
            recursion_desired: true,
            checking_disabled: false,
            authentic_data: false,
        },
        asked: name.clone(),
        name,
        rtype: RecordType::HINFO,
        class: DNSClass::IN.into(),
        edns: None,
        bytes: 12 + question.len(),
        question: question.into(),
        zone: site.zone.clone(),
        server: Arc::clone(&site.server),
        view: "".into(),
        serial: None,
        lookups: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_random_and_in_the_zone() {
        let zone = Name::from_ascii("example.org.").unwrap();
        let (one, other) = (random_name(&zone).unwrap(), random_name(&zone).unwrap());
        assert_ne!(one, other);
        assert!(zone.zone_of(&one));
        assert_eq!(one.num_labels(), 4);
        assert_eq!(random_name(&Name::root()).unwrap().num_labels(), 2);
    }
}
