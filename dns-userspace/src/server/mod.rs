//! Which server block answers a query.
//!
//! Every block has zones, and addresses and ports where they are served. Blocks that are served at one address share its
//! sockets; there a query belongs to the block with the longest zone that its name lies in.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RecordType},
};

use crate::{
    corefile::{Corefile, CorefileError, Fault, Transport},
    plugin::{self, Environment, Next, Plugin, Reply, Request, Served, builder::Block, view::View},
    socket::{Service, TcpLimits},
};

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
    plugins: Arc<[Box<dyn Plugin>]>,
    /// Which queries are its at all; `None`: all.
    view: Option<Arc<View>>,
}

/// What is served at one address.
pub struct Server {
    label: Arc<str>,
    /// Several of one zone in the order of the file, all but the last with a view.
    sites: HashMap<Name, Vec<Site>>,
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
        let servers = servers.into_iter();
        Ok(Servers(
            servers.map(|(at, server)| (at, Arc::new(server))).collect(),
        ))
    }

    /// Lets the plugins begin what they do without being asked; once for each block, in one of its zones.
    pub fn start(&self) {
        let mut started: Vec<*const ()> = Vec::new();
        for server in self.0.values() {
            for (zone, site) in server.all() {
                let block = Arc::as_ptr(&site.plugins).cast();
                if started.contains(&block) {
                    continue;
                }
                started.push(block);
                let at = plugin::Site::new(zone.clone(), Arc::clone(&server.label), &site.plugins);
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
                label: listen.label().into(),
                sites: HashMap::new(),
                any_class: false,
                tcp_limits: TcpLimits::default(),
                udp_sockets: None,
            });
            let mut plugins = block.plugins.iter();
            server.any_class |= plugins.any(|plugin| ANY_CLASS.contains(&plugin.name()));
            block.tcp.apply(&mut server.tcp_limits);
            server.udp_sockets = block.udp_sockets.or(server.udp_sockets);
            let sites = server.sites.entry(key.zone.clone()).or_default();
            let is_taken = sites.iter().any(|site| site.view.is_none());
            sites.push(Site {
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
        sites.sort_by_key(|(zone, _)| *zone);
        sites.into_iter().map(|(zone, site)| (zone, &*site.plugins))
    }

    /// Zones whose queries are answered differently by client or query: the kernel, which does not know whose they
    /// are, has to leave them to the socket, in blocks without a view too.
    pub fn viewed(&self) -> impl Iterator<Item = &Name> {
        let viewed = self.all().filter(|(_, site)| site.view.is_some());
        viewed.map(|(zone, _)| zone)
    }

    fn all(&self) -> impl Iterator<Item = (&Name, &Site)> {
        let sites = self.sites.iter();
        sites.flat_map(|(zone, sites)| sites.iter().map(move |site| (zone, site)))
    }

    /// The block with the longest zone that the name lies in. The DS record of a zone is its parent's (RFC 4035
    /// section 3.1.4.1), so for that it is the longest but one, if there is one.
    fn site(&self, request: &Request) -> Option<(&Name, &Site)> {
        if request.class != u16::from(DNSClass::IN) && !self.any_class {
            return None;
        }
        let mut name = request.lower_name();
        let mut child = None;
        loop {
            let wants = |site: &&Site| site.view.as_ref().is_none_or(|view| view.wants(request));
            let found = self.sites.get_key_value(&name);
            let found = found.and_then(|(zone, sites)| Some((zone, sites.iter().find(wants)?)));
            if let Some(found) = found {
                if request.rtype != RecordType::DS || child.is_some() {
                    return Some(found);
                }
                child = Some(found);
            }
            if name.is_root() {
                return child;
            }
            name = name.base_name();
        }
    }
}

#[async_trait]
impl Service for Server {
    async fn answer(&self, request: &mut Request) -> Option<Reply> {
        let Some((zone, site)) = self.site(request) else {
            return Some(Reply::bare(ResponseCode::Refused));
        };
        request.zone = zone.clone();
        request.server = Arc::clone(&self.label);
        request.view =
            (site.view.as_ref()).map_or_else(|| "".into(), |view| Arc::clone(view.name()));
        match Next::first(&site.plugins).at(self).run(request).await {
            Ok(Served::Reply(reply)) => Some(reply),
            Ok(Served::Silence) => None,
            Err(failure) => Some(Reply::bare(failure.rcode)),
        }
    }
}
