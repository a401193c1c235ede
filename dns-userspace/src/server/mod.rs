//! Which server block answers a query.
//!
//! Every block has zones, and addresses and ports where they are served. Blocks that are served at one address share its
//! sockets; there a query belongs to the block with the longest zone that its name lies in.

mod allowance;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RecordType},
};
use tokio::time::Instant;

use crate::{
    corefile::{Corefile, CorefileError, Fault, Transport},
    plugin::{
        self, Environment, Glance, Glanced, Glimpse, Next, Plugin, Reply, Request, Served,
        builder::Block, view::View,
    },
    socket::{Asked, Service, TcpLimits},
    wire,
};

pub use allowance::{Allowance, Claim};

/// Where queries come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// How.
    pub transport: Transport,
    /// Address and port; the unspecified address is all of the host.
    pub address: SocketAddr,
}

impl Listen {
    /// As metrics and log lines name it: `dns://:53`.
    pub fn label(&self) -> String {
        let (scheme, port) = (self.transport.scheme(), self.address.port());
        match self.address.ip() {
            ip if ip.is_unspecified() => format!("{scheme}://:{port}"),
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
}

/// As in `CoreDNS`.
const ANY_CLASS: [&str; 2] = ["chaos", "forward"];

/// All servers of a configuration.
pub struct Servers(BTreeMap<Listen, Arc<Server>>);

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
        for block in &corefile.blocks {
            let built = Block::build(block, port_default, environment).and_then(|built| {
                let span = block.keys[0].span;
                add(&mut servers, &built)
                    .map_err(|message| Fault::new(span, message, "each zone once at one address"))
            });
            built.map_err(|fault| fault.within(&corefile.sources))?;
        }
        Ok(Self::new(servers))
    }

    /// Serves blocks that are built already.
    ///
    /// # Errors
    ///
    /// A zone that two of them have at one address.
    pub fn of(blocks: &[Block]) -> Result<Self, String> {
        let mut servers = BTreeMap::new();
        for block in blocks {
            add(&mut servers, block)?;
        }
        Ok(Self::new(servers))
    }

    fn new(servers: BTreeMap<Listen, Server>) -> Self {
        let shared = |server: Server| {
            Arc::new_cyclic(|me| Server {
                me: Weak::clone(me),
                ..server
            })
        };
        let servers = servers.into_iter();
        Servers(servers.map(|(at, server)| (at, shared(server))).collect())
    }

    /// Lets the plugins begin what they do without being asked; once for each block, in one of its zones.
    pub fn start(&self) {
        let mut started: Vec<*const ()> = Vec::new();
        for server in self.0.values() {
            for site in server.all() {
                let block = Arc::as_ptr(&site.plugins).cast();
                if started.contains(&block) {
                    continue;
                }
                started.push(block);
                let at =
                    plugin::Site::new(site.zone.clone(), Arc::clone(&server.label), &site.plugins);
                for plugin in &*site.plugins {
                    plugin.start(&at);
                }
            }
        }
    }

    /// Each address with what is served there.
    pub fn iter(&self) -> impl Iterator<Item = (&Listen, &Arc<Server>)> {
        self.0.iter()
    }
}

fn add(servers: &mut BTreeMap<Listen, Server>, block: &Block) -> Result<(), String> {
    let everywhere = [IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let addresses = if block.listen.is_empty() {
        &everywhere[..]
    } else {
        &block.listen
    };
    for key in &block.keys {
        for address in addresses {
            let listen = Listen {
                transport: key.transport,
                address: SocketAddr::new(*address, key.port),
            };
            let server = servers.entry(listen).or_insert_with(|| Server {
                me: Weak::new(),
                label: listen.label().into(),
                no_view: "".into(),
                sites: HashMap::new(),
                any_class: false,
                tcp_limits: TcpLimits::default(),
                udp_sockets: None,
            });
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
                return Err(format!(
                    "{} is served at {} already",
                    key.zone,
                    listen.label()
                ));
            }
        }
    }
    Ok(())
}

impl Server {
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
    /// want the query. The DS record of a zone is its parent's (RFC 4035 section 3.1.4.1), so for that it is the longest
    /// but one, if there is one.
    fn site(&self, name: &[u8], rtype: RecordType, wants: impl Fn(&View) -> bool) -> Option<&Site> {
        let wants = |site: &&Site| site.view.as_ref().is_none_or(|view| wants(view));
        let sites = wire::suffixes(name).filter_map(|suffix| self.sites.get(suffix));
        let mut found = sites.filter_map(|sites| sites.iter().find(wants));
        let longest = found.next()?;
        match rtype {
            RecordType::DS => Some(found.next().unwrap_or(longest)),
            _ => Some(longest),
        }
    }

    /// The block with the longest zone that a name lies in, whatever is asked, among those without a view.
    fn longest(&self, name: &Name) -> Option<&Site> {
        self.site(&wire::lower_name(name), RecordType::ANY, |_| false)
    }
}

#[async_trait]
impl Service for Server {
    async fn answer(&self, request: &mut Request) -> Option<Reply> {
        self.resolve(request).await
    }

    fn handle(&self) -> Option<Arc<dyn Service>> {
        self.me.upgrade().map(|server| server as _)
    }

    async fn resolve(&self, request: &mut Request) -> Option<Reply> {
        let is_ours = request.class == u16::from(DNSClass::IN) || self.any_class;
        let name = wire::lower_name(&request.name);
        let site = self.site(&name, request.rtype, |view| view.wants(request));
        let Some(site) = site.filter(|_| is_ours) else {
            return Some(Reply::bare(ResponseCode::Refused));
        };
        request.zone = site.zone.clone();
        request.server = Arc::clone(&self.label);
        request.view =
            (site.view.as_ref()).map_or_else(|| "".into(), |view| Arc::clone(view.name()));
        match Next::first(&site.plugins).at(self).run(request).await {
            Ok(Served::Reply(reply)) => Some(reply),
            Ok(Served::Silence) => None,
            Err(failure) => Some(Reply::bare(failure.rcode)),
        }
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
