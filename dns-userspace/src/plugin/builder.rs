//! From a server block to its plugins.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Duration,
};

use hickory_proto::rr::Name;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Plugin,
    clusters::{Clusters, ShowsOther},
    forward::{self, Timeouts},
    kubernetes::ApiServer,
    metrics::Metrics,
    table::{self, DIRECTIVES, Support},
    view::View,
    wanted::Wanted,
};
use crate::{
    corefile::{Directive, Fault, Key, ServerBlock, key},
    socket::TcpLimits,
    tls::ServerTls,
    zone::{Zone, ZoneConfig},
};

/// The port of keys that name none, unless the command line says otherwise.
pub const PORT_DEFAULT: u16 = 53;

/// What the daemon has for plugins, beyond a Corefile.
#[derive(Default)]
pub struct Environment {
    /// What is made of the cluster.
    pub cluster_zones: Clusters,
    failures: Failures,
    touches_changed: TouchesChanged,
    /// What plugins count; it outlives them.
    pub metrics: Arc<Metrics>,
    /// Cancelled once the daemon is to end, while it is served yet.
    pub stopping: CancellationToken,
    /// Where the cluster is, if a plugin says so.
    pub api_server: ApiServer,
    /// How long `forward` waits, where no property says it.
    pub timeouts: Timeouts,
    /// Whom `forward` asks.
    pub upstreams: forward::Known,
}

/// Where a plugin says that it touches other names than before.
#[derive(Clone, Default)]
pub struct TouchesChanged(Arc<watch::Sender<()>>);

impl TouchesChanged {
    /// [`Plugin::touches`] says something new.
    pub fn tell(&self) {
        self.0.send_replace(());
    }

    /// Learns of every change from now on.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// Where a plugin says that the daemon must not go on.
#[derive(Clone, Default)]
pub struct Failures(Arc<watch::Sender<Option<String>>>);

impl Failures {
    /// Ends the daemon with this error.
    pub fn fatal(&self, error: String) {
        // The first is told.
        self.0.send_if_modified(|told| {
            let is_first = told.is_none();
            told.get_or_insert(error);
            is_first
        });
    }

    /// The first error, once there is one.
    pub async fn first(&self) -> String {
        let mut errors = self.0.subscribe();
        // `self` holds the sender, so this waits until there is one.
        let error = errors.wait_for(Option::is_some).await;
        error
            .ok()
            .and_then(|error| error.clone())
            .unwrap_or_default()
    }
}

impl Environment {
    /// The names of the cluster, as a `kubernetes` directive wants them; the same for the same wishes.
    ///
    /// # Errors
    ///
    /// They are not known, because others are followed already.
    pub fn cluster(&self, config: ZoneConfig) -> Result<Arc<RwLock<Zone>>, ShowsOther> {
        self.cluster_zones.zone(config)
    }

    /// All that were asked for: who follows the cluster fills them.
    pub fn clusters(&self) -> Vec<Arc<RwLock<Zone>>> {
        self.cluster_zones.hold().clone()
    }

    /// Where what cannot be survived is told.
    pub fn failures(&self) -> Failures {
        self.failures.clone()
    }

    /// Where it is told that plugins touch other names than before.
    pub fn touches_changed(&self) -> TouchesChanged {
        self.touches_changed.clone()
    }
}

/// A server block while its directives are read.
pub struct Builder<'a> {
    /// The block's zones, where they are served.
    pub keys: &'a [Key],
    /// What the daemon has.
    pub environment: &'a Environment,
    /// The plugins so far, in their order.
    pub plugins: Vec<Box<dyn Plugin>>,
    /// The addresses to listen at, with any port; none: all of the host.
    pub listen: Vec<SocketAddr>,
    /// Where relative paths begin.
    pub root: PathBuf,
    /// `ready` speaks for this block.
    pub is_monitored: bool,
    /// What the configuration wants beyond answers.
    pub wanted: &'a mut Wanted,
    /// All directives of the block, in the order of the file.
    pub directives: &'a [Directive],
    /// What the block says of TCP.
    pub tcp: Tcp,
    /// UDP sockets of each address; `None`: one for each core.
    pub udp_sockets: Option<usize>,
    /// Which queries are the block's at all; `None`: all.
    pub view: Option<Arc<View>>,
    /// How sessions at its `tls://` keys are made; `None`: there are none, and queries come in plain.
    pub tls: Option<ServerTls>,
}

/// Limits of TCP that a block sets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp {
    /// For a client to send a query that it has begun.
    pub read: Option<Duration>,
    /// For a client to take a reply.
    pub write: Option<Duration>,
    /// For a client to send its next query.
    pub idle: Option<Duration>,
    /// Queries of one connection; `Some(None)`: without limit.
    pub queries: Option<Option<usize>>,
}

impl Tcp {
    /// The limits, where they are set.
    pub fn apply(self, limits: &mut TcpLimits) {
        limits.read = self.read.unwrap_or(limits.read);
        limits.write = self.write.unwrap_or(limits.write);
        limits.idle = self.idle.unwrap_or(limits.idle);
        limits.queries = self.queries.unwrap_or(limits.queries);
    }
}

impl Builder<'_> {
    /// A file that an argument names; a relative path begins at `root`.
    pub fn path(&self, word: &crate::corefile::Word) -> PathBuf {
        self.root.join(&word.text)
    }

    /// The zones that a plugin is for: its arguments, or else the block's.
    ///
    /// # Errors
    ///
    /// An argument is no zone.
    pub fn zones(&self, args: &[crate::corefile::Word]) -> Result<Vec<Name>, Fault> {
        if args.is_empty() {
            return Ok(self.keys.iter().map(|key| key.zone.clone()).collect());
        }
        let mut zones = Vec::new();
        for arg in args {
            let named = key::zones(&arg.text)
                .map_err(|message| Fault::new(arg.span, message, "a domain or a network"))?;
            zones.extend(named);
        }
        Ok(zones)
    }

    /// The zones of a `fallthrough`: its arguments, or else all names.
    ///
    /// # Errors
    ///
    /// An argument is no zone.
    pub fn fallthrough(&self, property: &Directive) -> Result<Vec<Name>, Fault> {
        if property.args.is_empty() {
            return Ok(vec![Name::root()]);
        }
        self.zones(&property.args)
    }
}

/// The longest of the zones that a lower-case name lies in.
pub fn longest<'z>(zones: &'z [Name], name: &Name) -> Option<&'z Name> {
    let outer = zones.iter().filter(|zone| zone.zone_of(name));
    outer.max_by_key(|zone| zone.num_labels())
}

/// A server block, ready to serve.
pub struct Block {
    /// Its zones, where they are served.
    pub keys: Vec<Key>,
    /// Its plugins, in their order.
    pub plugins: Arc<[Box<dyn Plugin>]>,
    /// The addresses to listen at, with any port; none: all of the host.
    pub listen: Vec<SocketAddr>,
    /// What it says of TCP.
    pub tcp: Tcp,
    /// UDP sockets of each address; `None`: one for each core.
    pub udp_sockets: Option<usize>,
    /// Which queries are its at all; `None`: all.
    pub view: Option<Arc<View>>,
    /// How sessions at its `tls://` keys are made; `None`: there are none, and queries come in plain.
    pub tls: Option<ServerTls>,
}

impl Block {
    /// Reads the keys and the directives of a server block.
    ///
    /// # Errors
    ///
    /// The first that is wrong, in the order of the plugins.
    pub fn build(
        block: &ServerBlock,
        port_default: u16,
        environment: &Environment,
        wanted: &mut Wanted,
    ) -> Result<Self, Fault> {
        Self::build_with(block, port_default, environment, wanted, |_| ())
    }

    /// The same, with plugins that no directive has, for tests: `edit` puts them among the others.
    ///
    /// # Errors
    ///
    /// The first that is wrong, in the order of the plugins.
    pub fn build_with(
        block: &ServerBlock,
        port_default: u16,
        environment: &Environment,
        wanted: &mut Wanted,
        edit: impl FnOnce(&mut Vec<Box<dyn Plugin>>),
    ) -> Result<Self, Fault> {
        let mut keys = Vec::new();
        for word in &block.keys {
            keys.append(&mut Key::parse(word, port_default)?);
        }
        for directive in &block.directives {
            check_known(directive)?;
        }
        let mut builder = Builder {
            keys: &keys,
            environment,
            plugins: Vec::new(),
            listen: Vec::new(),
            directives: &block.directives,
            tcp: Tcp::default(),
            udp_sockets: None,
            view: None,
            tls: None,
            root: PathBuf::new(),
            is_monitored: false,
            wanted,
        };
        for (name, support) in DIRECTIVES {
            let ours: Vec<&Directive> = (block.directives.iter())
                .filter(|directive| directive.name.text == *name)
                .collect();
            if let Support::Here(setup) = support
                && !ours.is_empty()
            {
                setup(&mut builder, &ours)?;
            }
        }
        let Builder {
            mut plugins,
            listen,
            tcp,
            udp_sockets,
            view,
            tls,
            is_monitored,
            wanted,
            ..
        } = builder;
        edit(&mut plugins);
        let plugins: Arc<[_]> = plugins.into();
        if is_monitored {
            wanted.readiness.add(Arc::clone(&plugins));
        }
        Ok(Block {
            keys,
            plugins,
            listen,
            tcp,
            udp_sockets,
            view,
            tls,
        })
    }
}

fn check_known(directive: &Directive) -> Result<(), Fault> {
    let name = directive.name.text.as_str();
    let fault =
        |message: String| Fault::new(directive.name.span, message, "a directive of hopzero");
    match DIRECTIVES.iter().find(|(known, _)| *known == name) {
        Some((_, Support::Here(_))) => Ok(()),
        Some((_, Support::Missing)) => Err(fault(format!(
            "hopzero does not have CoreDNS's plugin `{name}`"
        ))),
        None => {
            let fault = fault(format!("there is no directive `{name}`"));
            Err(match table::similar(name) {
                Some(similar) => fault.help(format!("did you mean `{similar}`?")),
                None => fault,
            })
        }
    }
}
