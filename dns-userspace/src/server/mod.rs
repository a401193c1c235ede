//! Which server block answers a query.
//!
//! Every block has zones, and addresses and ports where they are served. Blocks that are served at one address share its
//! sockets; there a query belongs to the block with the longest zone that its name lies in.

mod allowance;
mod serving;

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RecordType},
};
use rustls::ServerConfig;
use tokio::time::Instant;

use crate::{
    corefile::{Corefile, CorefileError, Fault, Transport},
    plugin::{
        self, Environment, Glance, Glanced, Glimpse, Next, Plugin, Reply, Request, Sent, Served,
        builder::{Block, Failures},
        prometheus::{DnsCounters, Enabled, Scope},
        sent::Replied,
        view::View,
        wanted::Wanted,
    },
    socket::{self, Asked, Encoded, Service, TcpLimits},
    tls::ServerTls,
    wire,
};

pub use allowance::{Allowance, Claim};
pub use serving::Serving;

/// Where queries come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// How.
    pub transport: Transport,
    /// Address and port; `[::]` is all of the host.
    pub address: SocketAddr,
}

impl Listen {
    /// As metrics and log lines name it: `dns://:53`.
    pub fn label(&self) -> String {
        let (scheme, port) = (self.transport.scheme(), self.address.port());
        match self.address.ip() {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => format!("{scheme}://:{port}"),
            _ => format!("{scheme}://{}", self.address),
        }
    }
}

/// A server block as it answers for one of its zones.
struct Site {
    zone: Name,
    plugins: Arc<[Box<dyn Plugin>]>,
    /// Which queries are its at all; `None`: all.
    view: Option<Arc<View>>,
}

/// What is served at one address.
pub struct Server {
    /// Itself.
    me: Weak<Server>,
    label: Arc<str>,
    /// The label of blocks without a view.
    no_view: Arc<str>,
    /// By zone, in lower case and as on the wire; several of one zone in the order of the file, all but the last with a
    /// view.
    sites: HashMap<Box<[u8]>, Vec<Site>>,
    /// Other classes than IN are not refused: a plugin in one of the blocks may have answers.
    any_class: bool,
    tcp_limits: TcpLimits,
    udp_sockets: Option<usize>,
    /// How sessions are made, where that is the transport; `None`: queries come in plain.
    tls: Option<ServerTls>,
    counters: DnsCounters,
    /// What belongs to no block.
    dropped: Arc<Scope>,
    /// Where a panic is told, if one of the blocks has `debug`: it ends the daemon.
    panics_to: Option<Failures>,
}

/// As in `CoreDNS`.
const ANY_CLASS: [&str; 2] = ["chaos", "forward"];

/// All servers of a configuration.
pub struct Servers {
    at: BTreeMap<Listen, Arc<Server>>,
    counters: DnsCounters,
    wanted: Mutex<Wanted>,
}

impl Servers {
    /// Builds the plugins of every block.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn build(
        corefile: &Corefile,
        port_default: u16,
        environment: &Environment,
    ) -> Result<Self, CorefileError> {
        let mut servers: BTreeMap<Listen, Server> = BTreeMap::new();
        let counters: DnsCounters = environment.metrics.of();
        let mut wanted = Wanted::default();
        for block in &corefile.blocks {
            let built = Block::build(block, port_default, environment, &mut wanted);
            let built = built.and_then(|built| {
                let span = block.keys[0].span;
                add(&mut servers, &counters, &built)
                    .map_err(|conflict| Fault::new(span, conflict.message, conflict.expected))
            });
            built.map_err(|fault| fault.within(&corefile.sources))?;
        }
        if wanted.debug {
            for server in servers.values_mut() {
                server.panics_to = Some(environment.failures());
            }
        }
        Ok(Self::new(servers, counters, wanted))
    }

    /// Serves blocks that are built already.
    ///
    /// # Errors
    ///
    /// A zone that two of them have at one address.
    pub fn of(blocks: &[Block]) -> Result<Self, String> {
        let mut servers = BTreeMap::new();
        let counters = DnsCounters::default();
        for block in blocks {
            add(&mut servers, &counters, block).map_err(|conflict| conflict.message)?;
        }
        Ok(Self::new(servers, counters, Wanted::default()))
    }

    fn new(servers: BTreeMap<Listen, Server>, counters: DnsCounters, wanted: Wanted) -> Self {
        let shared = |server: Server| {
            Arc::new_cyclic(|me| Server {
                me: Weak::clone(me),
                ..server
            })
        };
        let servers = servers.into_iter();
        Servers {
            at: servers.map(|(at, server)| (at, shared(server))).collect(),
            counters,
            wanted: Mutex::new(wanted),
        }
    }

    /// What the configuration wants beyond answers; it is handed over once.
    pub fn wanted(&self) -> Wanted {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut wanted)
    }

    /// Lets the plugins begin what they do without being asked; once for each block, in one of its zones.
    pub fn start(&self) {
        self.counters.enable(self.enabled());
        self.start_those(|_| true);
    }

    /// Lets them follow their files, for who wants to know what they touch and never asks them.
    pub fn follow_files(&self) {
        // It sends queries, to see whether they come back to itself.
        self.start_those(|plugin| plugin != "loop");
    }

    fn start_those(&self, is_meant: impl Fn(&str) -> bool) {
        let mut started: Vec<*const ()> = Vec::new();
        for server in self.at.values() {
            for site in server.all() {
                let block = Arc::as_ptr(&site.plugins).cast();
                if started.contains(&block) {
                    continue;
                }
                started.push(block);
                let at =
                    plugin::Site::new(site.zone.clone(), Arc::clone(&server.label), &site.plugins);
                for plugin in &*site.plugins {
                    if is_meant(plugin.name()) {
                        plugin.start(&at);
                    }
                }
            }
        }
    }

    /// The plugins of blocks with `prometheus`, wherever they are served.
    fn enabled(&self) -> Vec<Enabled> {
        let mut enabled = Vec::new();
        for server in self.at.values() {
            for (zone, plugins) in server.sites() {
                if plugins.iter().any(|plugin| plugin.name() == "prometheus") {
                    enabled.extend(plugins.iter().map(|plugin| Enabled {
                        server: Arc::clone(&server.label),
                        zone: zone.to_string(),
                        name: plugin.name(),
                    }));
                }
            }
        }
        enabled.dedup();
        enabled
    }

    /// Each address with what is served there.
    pub fn iter(&self) -> impl Iterator<Item = (&Listen, &Arc<Server>)> {
        self.at.iter()
    }
}

/// Why a block cannot be served with those before it.
struct Conflict {
    message: String,
    expected: &'static str,
}

fn add(
    servers: &mut BTreeMap<Listen, Server>,
    counters: &DnsCounters,
    block: &Block,
) -> Result<(), Conflict> {
    let everywhere = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))];
    let addresses = if block.listen.is_empty() {
        &everywhere[..]
    } else {
        &block.listen
    };
    for key in &block.keys {
        for address in addresses {
            let mut listen = Listen {
                transport: key.transport,
                address: *address,
            };
            listen.address.set_port(key.port);
            let server = servers
                .entry(listen)
                .or_insert_with(|| Server::new(listen, counters));
            if listen.transport == Transport::Tls {
                server.share_sessions(block.tls.as_ref())?;
            }
            let mut plugins = block.plugins.iter();
            server.any_class |= plugins.any(|plugin| ANY_CLASS.contains(&plugin.name()));
            block.tcp.apply(&mut server.tcp_limits);
            server.udp_sockets = block.udp_sockets.or(server.udp_sockets);
            let zone = wire::lower_name(&key.zone).into();
            let sites = server.sites.entry(zone).or_default();
            let is_taken = sites.iter().any(|site| site.view.is_none());
            sites.push(Site {
                zone: key.zone.clone(),
                plugins: Arc::clone(&block.plugins),
                view: block.view.clone(),
            });
            if is_taken {
                return Err(Conflict {
                    message: format!("{} is served at {} already", key.zone, listen.label()),
                    expected: "each zone once at one address",
                });
            }
        }
    }
    Ok(())
}

impl Server {
    fn new(listen: Listen, counters: &DnsCounters) -> Self {
        let label: Arc<str> = listen.label().into();
        Server {
            sites: HashMap::new(),
            any_class: false,
            counters: counters.clone(),
            dropped: counters.dropped(&label),
            panics_to: None,
            no_view: "".into(),
            me: Weak::new(),
            tcp_limits: TcpLimits::default(),
            udp_sockets: None,
            tls: None,
            label,
        }
    }

    /// Another block at its address, with these sessions. Which block a query belongs to is known only once there is a
    /// session.
    fn share_sessions(&mut self, tls: Option<&ServerTls>) -> Result<(), Conflict> {
        let differs = match (&self.tls, tls) {
            _ if self.sites.is_empty() => Ok(()),
            (None, None) => Ok(()),
            (Some(before), Some(now)) => before.agrees_with(now),
            _ => Err("one of them has none"),
        };
        differs.map_err(|why| Conflict {
            message: format!(
                "another server block at {} has another `tls`: {why}",
                self.label
            ),
            expected: "the same `tls` in all blocks of an address",
        })?;
        self.tls = self.tls.take().or_else(|| tls.cloned());
        Ok(())
    }

    /// As metrics name it.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Its limits of TCP.
    pub fn tcp_limits(&self) -> TcpLimits {
        self.tcp_limits
    }

    /// How many UDP sockets it has; `None`: one for each core.
    pub fn udp_sockets(&self) -> Option<usize> {
        self.udp_sockets
    }

    /// Its zones, each with the plugins that answer there; one with views comes several times.
    pub fn sites(&self) -> impl Iterator<Item = (&Name, &[Box<dyn Plugin>])> {
        let mut sites: Vec<_> = self.all().collect();
        sites.sort_by_key(|site| &site.zone);
        sites.into_iter().map(|site| (&site.zone, &*site.plugins))
    }

    fn all(&self) -> impl Iterator<Item = &Site> {
        self.sites.values().flatten()
    }

    /// The block with the longest zone that the name lies in, which is in lower case and as on the wire, among those that
    /// want the query. The DS record of a zone is its parent's (RFC 4035 section 3.1.4.1): as in `CoreDNS`, that is looked for
    /// in the shortest zone but the root.
    fn site(&self, name: &[u8], rtype: RecordType, wants: impl Fn(&View) -> bool) -> Option<&Site> {
        let wants = |site: &&Site| site.view.as_ref().is_none_or(|view| wants(view));
        let sites = wire::suffixes(name).filter_map(|suffix| self.sites.get(suffix));
        let mut found = sites.filter_map(|sites| sites.iter().find(wants));
        let longest = found.next()?;
        match rtype {
            RecordType::DS => found
                .filter(|site| !site.zone.is_root())
                .last()
                .or(Some(longest)),
            _ => Some(longest),
        }
    }

    /// The block with the longest zone that a name lies in, whatever is asked, among those without a view.
    fn longest(&self, name: &Name) -> Option<&Site> {
        self.site(&wire::lower_name(name), RecordType::ANY, |_| false)
    }

    /// The block that is asked for the DS records there.
    fn shortest(&self, name: &Name) -> Option<&Site> {
        self.site(&wire::lower_name(name), RecordType::DS, |_| false)
    }
}

#[async_trait]
impl Service for Server {
    async fn answer(&self, request: &mut Request) -> Option<Encoded> {
        self.reply(request).await
    }

    async fn resolve(&self, request: &mut Request) -> Option<Reply> {
        let Some(site) = self.route(request) else {
            return Some(Reply::bare(ResponseCode::Refused));
        };
        match Next::first(&site.plugins).at(self).run(request).await {
            Ok(Served::Reply(reply)) => Some(reply),
            Ok(Served::Silence) => None,
            Err(failure) => Some(Reply::bare(failure.rcode)),
        }
    }

    fn handle(&self) -> Option<Arc<dyn Service>> {
        self.me.upgrade().map(|server| server as _)
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(|tls| Arc::clone(tls.config()))
    }

    fn glance(&self, asked: &Asked<'_>, message: &mut Vec<u8>) -> Option<ResponseCode> {
        // A view is of a request, which is not there yet.
        let is_viewed = self.all().any(|site| site.view.is_some());
        if asked.query.class != u16::from(DNSClass::IN) || is_viewed {
            return None;
        }
        let site = self.site(asked.name, asked.query.rtype, |_| false)?;
        let glimpse = Glimpse {
            asked,
            begun: Instant::now(),
            zone: &site.zone,
            server: &self.label,
            view: &self.no_view,
        };
        let mut reply = Glanced {
            message,
            rcode: ResponseCode::NoError,
            addresses: None,
            plugin: "",
        };
        for (before, plugin) in site.plugins.iter().enumerate() {
            match plugin.glance(&glimpse, &mut reply) {
                Glance::Next => {}
                Glance::InDoubt => return None,
                Glance::Answered => {
                    for plugin in site.plugins[..before].iter().rev() {
                        plugin.glanced(&glimpse, &mut reply);
                    }
                    return Some(reply.rcode);
                }
            }
        }
        None
    }
}

impl Server {
    /// Answers, and tells the plugins what was answered.
    async fn reply(&self, request: &mut Request) -> Option<Encoded> {
        let begun = Instant::now();
        let Some(site) = self.route(request) else {
            return Some(self.refuse(request, ResponseCode::Refused, begun));
        };
        let chain = Next::first(&site.plugins).at(self).run(request);
        let chain = AssertUnwindSafe(chain).catch_unwind();
        let reply = match chain.await {
            Ok(Ok(Served::Reply(reply))) => Some(reply),
            Ok(Ok(Served::Silence)) => None,
            Ok(Err(failure)) => Some(Reply::bare(failure.rcode)),
            Err(panic) => {
                self.tell(&*panic);
                return Some(self.refuse(request, ResponseCode::ServFail, begun));
            }
        };
        let encoded = reply.as_ref().map(|reply| socket::encode(request, reply));
        let replied = match (&reply, &encoded) {
            (Some(reply), Some(encoded)) => Replied::new(reply, encoded),
            _ => Replied::NOTHING,
        };
        let sent = Sent::new(request, replied, begun.elapsed()).of(&site.plugins);
        for plugin in &*site.plugins {
            plugin.sent(&sent);
        }
        encoded
    }

    /// The block that a query belongs to; the query learns of that.
    fn route(&self, request: &mut Request) -> Option<&Site> {
        request.server = Arc::clone(&self.label);
        if request.class != u16::from(DNSClass::IN) && !self.any_class {
            return None;
        }
        let name = wire::lower_name(&request.name);
        let site = self.site(&name, request.rtype, |view| view.wants(request))?;
        request.zone = site.zone.clone();
        let view = site.view.as_ref().map_or(&self.no_view, |view| view.name());
        request.view = Arc::clone(view);
        Some(site)
    }

    /// A query that no server block answers.
    fn refuse(&self, request: &Request, rcode: ResponseCode, begun: Instant) -> Encoded {
        let reply = Reply::bare(rcode);
        let encoded = socket::encode(request, &reply);
        let replied = Replied::new(&reply, &encoded);
        self.dropped
            .record(&(&Sent::new(request, replied, begun.elapsed())).into());
        encoded
    }

    fn tell(&self, panic: &(dyn Any + Send)) {
        let text = (panic.downcast_ref::<String>().map(String::as_str))
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("of an unknown kind");
        self.counters.panicked();
        let line = format!("Recovered from panic in server: {:?} {text}", self.label);
        tracing::error!("{line}");
        if let Some(failures) = &self.panics_to {
            failures.fatal(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plugin::{Outcome, Touch, metrics::Metrics},
        socket::{Path, Transport::Udp},
    };

    struct Broken;

    #[async_trait]
    impl Plugin for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }

        async fn serve(&self, _request: &mut Request, _next: Next<'_>) -> Outcome {
            panic!("on purpose")
        }

        fn touches(&self) -> Vec<Touch> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn a_panic_is_servfail_and_counted_and_fatal_only_with_debug() {
        let metrics = Metrics::default();
        let address = ([127, 0, 0, 1], 53).into();
        let listen = Listen {
            transport: Transport::Dns,
            address,
        };
        let mut server = Server::new(listen, &metrics.of());
        let plugins: [Box<dyn Plugin>; 1] = [Box::new(Broken)];
        let site = Site {
            zone: Name::root(),
            view: None,
            plugins: plugins.into(),
        };
        let root = wire::lower_name(&Name::root()).into();
        server.sites.insert(root, vec![site]);
        let failures = Failures::default();
        server.panics_to = Some(failures.clone());

        let query = *b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01";
        let path = Path {
            client: address,
            local: address,
            transport: Udp,
        };
        let reply = socket::answer(&query, path, &server).await.unwrap();
        assert_eq!(reply.rcode, ResponseCode::ServFail);
        let text = metrics.text();
        for line in [
            "coredns_panics_total 1",
            r#"coredns_dns_responses_total{plugin="",rcode="SERVFAIL",server="dns://127.0.0.1:53",view="",zone="dropped"} 1"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        let told = "Recovered from panic in server: \"dns://127.0.0.1:53\" on purpose";
        assert_eq!(failures.first().await, told);
    }
}
