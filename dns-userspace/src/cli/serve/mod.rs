//! `hopzero serve`: the daemon.

pub(super) mod allowances;
mod apply;
pub(super) mod kernel;
pub(super) mod live;
pub(super) mod run;
pub(super) mod sites;
pub(super) mod source;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, ValueEnum, error::ErrorKind};
use hickory_proto::rr::Name;
use ipnet::IpNet;

use crate::{
    kernel::{
        Hook, KernelError, LEASE_DEFAULT, Options as KernelOptions, Place, RATE_LIMIT_MAX,
        Selection, device_towards,
    },
    logging::{self, LogFormat},
    plugin::builder::PORT_DEFAULT,
    sandbox::capabilities::Needs,
    zone::ZoneConfig,
};

const AFTER_HELP: &str = "\
Examples:
  Serve the manifests of a directory on 127.0.0.1:1053, and follow its changes:
    hopzero serve --manifests ./manifests

  Manifests of a chart, whose Services have no address yet:
    helm template shop ./chart > manifests/shop.yaml
    hopzero serve --manifests ./manifests --service-cidr 10.96.0.0/16

  Two addresses, another zone, JSON logs:
    hopzero serve --manifests ./manifests --zone example.internal \\
        --listen 127.0.0.1:1053 --listen '[::1]:1053' --log-format json

  A cluster, from outside and from a pod of it:
    hopzero serve --kubeconfig ~/.kube/config --context test
    hopzero serve

  As a Corefile says:
    hopzero serve --conf Corefile --manifests ./manifests

  The same, and what it allows in the kernel (as root; `hopzero check-config` says what that is):
    hopzero serve --conf Corefile --manifests ./manifests --attach veth1 --answer-for 10.96.0.10

  In the kernel (as root), for queries that come in at veth1 for 10.96.0.10; what the kernel
  does not answer goes on as before:
    hopzero serve --manifests ./manifests --attach veth1 --answer-for 10.96.0.10

  The same for every pod of the node as it comes, but for those with their own resolver:
    hopzero serve --conf Corefile --attach pods --exclude 'vethdns*' --answer-for 10.96.0.10

  On an address that every node has, as a cache on the node would:
    hopzero serve --kubeconfig ~/.kube/config --local-address 169.254.20.10 --attach pods

  On a card, in VLAN 100 and without a tag, 50 denials or large answers a second to a /24:
    hopzero serve --manifests ./manifests --attach eth0 --answer-for 10.96.0.10 \\
        --vlan 100 --rate-limit 50

  The same so that a restart leaves no gap: the next one takes over what is pinned:
    hopzero serve --conf Corefile --attach pods --answer-for 10.96.0.10 --pin /sys/fs/bpf/hopzero

Exit status: 0 after SIGTERM or SIGINT, 1 on errors, 2 on a wrong command line.";

/// Serve DNS for a cluster, from the kernel and from a socket.
#[derive(Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Corefile: zones, addresses and plugins, as `CoreDNS` reads it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "zone", "reverse_zone", "ttl", "loadbalance"])]
    conf: Option<PathBuf>,

    #[command(flatten)]
    source: source::SourceArgs,

    /// Address and port to serve over UDP and TCP. May be given several times.
    #[arg(long, value_name = "ADDR:PORT", default_value = super::SERVER_DEFAULT, value_parser = super::parse_socket)]
    listen: Vec<SocketAddr>,

    /// Address of this node's own, such as 169.254.20.10: made on a device of ours (hopzero0; on lo where the kernel has no
    /// dummy devices), served at port 53, answered for in the kernel with --attach, and removed at the end. With --conf a
    /// server block has to be bound to it. May be given several times.
    #[arg(long, value_name = "IP", value_parser = kernel::parse_local)]
    local_address: Vec<IpAddr>,

    /// The cluster's domain.
    #[arg(long, value_name = "NAME", default_value = "cluster.local", value_parser = parse_zone)]
    zone: Name,

    /// Reverse zone that is ours; PTR questions outside are refused. May be given several times.
    #[arg(long, value_name = "NAME", default_values = ["in-addr.arpa", "ip6.arpa"], value_parser = parse_zone)]
    reverse_zone: Vec<Name>,

    /// TTL of every record and of negative answers, 0 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=3600))]
    ttl: u32,

    /// Rotate the A and AAAA records of an answer from query to query, as the loadbalance plugin of `CoreDNS` does.
    #[arg(long, value_name = "on|off", value_enum, default_value_t = Switch::On, hide_possible_values = true)]
    loadbalance: Switch,

    /// Unix socket that `hopzero stats` and `hopzero kernel` ask [default: /run/hopzero/control.sock].
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// Form of the log, on standard error; that of `CoreDNS` is on standard output [default: coredns with --conf,
    /// else plain].
    #[arg(long, value_enum, help_heading = "Logging")]
    log_format: Option<LogFormat>,

    /// Level such as debug, or filter such as `info,hopzero::socket=trace` [default: the
    /// environment's `RUST_LOG`, else info].
    #[arg(long, value_name = "FILTER", help_heading = "Logging")]
    log_level: Option<String>,

    #[command(flatten)]
    kernel: KernelArgs,

    #[command(flatten)]
    sandbox: super::SandboxArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Kernel")]
pub(super) struct KernelArgs {
    /// Where queries are answered when they come in: a device; pods, every veth of a pod as it comes;
    /// pods:calico, pods:cilium, pods:aws, pods:kindnet, pods:bridge (also flannel), those of a network plugin; a pattern of names such as
    /// 'cali*'; auto, the device of the default route, or of the one to --pod-network. Needs --answer-for.
    #[arg(long, value_name = "WHERE[,WHERE...]", value_delimiter = ',')]
    attach: Vec<Place>,

    /// Devices of pods that are left out, by a pattern of names. May be given several times.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', value_parser = crate::kernel::pattern)]
    exclude: Vec<glob::Pattern>,

    /// The pods' network, for --attach auto.
    #[arg(long, value_name = "CIDR")]
    pod_network: Option<IpNet>,

    /// Where on a device the programs run; auto takes the best that the device has.
    #[arg(long, value_enum, default_value_t)]
    hook: Hook,

    /// Destination address whose queries are answered: the cluster DNS address that pods ask. May
    /// be given several times.
    #[arg(long, value_name = "IP", value_parser = kernel::parse_destination)]
    answer_for: Vec<IpAddr>,

    /// Names that the kernel's table can hold; the rest is answered by the socket. Without a bound the table
    /// grows when it is full.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    names_max: Option<u32>,

    /// VLAN whose queries are answered too, 1 to 4094: those with its tag (802.1Q), which answers carry as it
    /// was. May be given up to eight times. Queries of other VLANs pass. It is for a device under VLAN
    /// devices; one of those itself sees no tags. XDP in a driver sees the tags that the card
    /// leaves in the frame (`ethtool -K DEV rxvlan off`).
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: Vec<u16>,

    /// Denials and answers of more than twice the query's length that one network (an IPv4 /24, an IPv6
    /// /56) is sent a second by XDP; what is above is TC=1 alone, and real clients come back over
    /// TCP. 0 is no limit [default: 200 on network cards, no limit on other devices].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(RATE_LIMIT_MAX)))]
    rate_limit: Option<u32>,

    /// Device of --attach whose clients cannot lie about their addresses: it has no --rate-limit. May
    /// be given several times.
    #[arg(long, value_name = "DEV[,DEV...]", value_delimiter = ',', value_parser = crate::kernel::device)]
    trusted: Vec<String>,

    /// How long the kernel answers without a renewal, which comes every second. A daemon that hangs or
    /// is stopped loses the lease, and the kernel passes everything.
    #[arg(long, value_name = "SECONDS", default_value_t = LEASE_DEFAULT.as_secs(), value_parser = clap::value_parser!(u64).range(2..=60))]
    lease: u64,

    /// Let the programs log each decision. Costs much; for debugging.
    #[arg(long)]
    trace: bool,

    /// Pin maps, programs and links below this directory of a bpffs, such as /sys/fs/bpf/hopzero: they outlast the daemon, answer
    /// until --lease is over, and the next daemon takes them over, device by device, without a gap. `hopzero detach` removes
    /// them. Filters of clsact cannot be pinned [default: nothing outlasts the daemon].
    #[arg(long, value_name = "DIR")]
    pin: Option<PathBuf>,

    /// Remove on exit what is pinned, unless another daemon has taken it over. (A daemon that is killed removes nothing.)
    #[arg(long, requires = "pin")]
    detach_on_exit: bool,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl KernelArgs {
    /// What the kernel is to do.
    ///
    /// # Errors
    /// There is no route for `--attach auto`.
    pub(super) fn options(self, rotate: bool) -> Result<KernelOptions, KernelError> {
        let mut devices = Vec::new();
        let mut selection = Selection {
            pods: Vec::new(),
            excluded: self.exclude,
        };
        for place in self.attach {
            match place {
                Place::Device(device) => devices.push(device),
                Place::Auto => devices.push(device_towards(self.pod_network)?),
                Place::Pods(pods) => selection.pods.push(pods),
            }
        }
        Ok(KernelOptions {
            devices,
            pods: (!selection.pods.is_empty()).then_some(selection),
            hook: self.hook,
            answer_for: self.answer_for,
            names_max: self.names_max,
            vlans: self.vlan,
            rate_limit: self.rate_limit,
            trusted: self.trusted,
            lease: Duration::from_secs(self.lease),
            rotate,
            trace: self.trace,
            pin: self.pin,
            detach_on_exit: self.detach_on_exit,
        })
    }
}

/// Everything that the daemon needs, checked.
#[derive(Debug)]
struct Options {
    conf: Option<PathBuf>,
    source: source::SourceArgs,
    listen: Vec<SocketAddr>,
    local: Vec<IpAddr>,
    zone: ZoneConfig,
    control: Option<PathBuf>,
    rotate: bool,
    kernel: KernelOptions,
}

pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let log_format = args.log_format.unwrap_or(match args.conf {
        Some(_) => LogFormat::Coredns,
        None => LogFormat::Plain,
    });
    logging::init(log_format, args.log_level.as_deref())
        .unwrap_or_else(|error| usage(ErrorKind::InvalidValue, error));
    let rotate = args.loadbalance == Switch::On;
    let mut kernel = args.kernel.options(rotate)?;
    let local = args.local_address;
    kernel::answer_for_too(&mut kernel, &local);
    kernel::check(&kernel).unwrap_or_else(|error| usage(ErrorKind::MissingRequiredArgument, error));
    // A Corefile may say where the cluster is.
    if args.conf.is_none() && !args.source.is_known() {
        usage(ErrorKind::MissingRequiredArgument, source::NO_SOURCE);
    }
    let mut listen = args.listen;
    listen.extend(
        local
            .iter()
            .map(|address| SocketAddr::new(*address, PORT_DEFAULT)),
    );
    let options = Options {
        local,
        conf: args.conf,
        source: args.source,
        listen,
        zone: ZoneConfig {
            origin: args.zone,
            reverse: args.reverse_zone,
            ttl: args.ttl,
            ..ZoneConfig::default()
        },
        control: args.control,
        rotate,
        kernel,
    };
    let needs = Needs {
        kernel: options.kernel.attaches(),
        addresses: !options.local.is_empty(),
        sockets: true,
    };
    super::run(&args.sandbox, needs, run::run(options))
}

fn usage(kind: ErrorKind, message: impl std::fmt::Display) -> ! {
    super::usage::<Args>("hopzero serve", kind, message)
}

fn parse_zone(text: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(text).map_err(|error| error.to_string())?;
    if name.is_root() {
        return Err("expected a domain, such as cluster.local".to_owned());
    }
    name.set_fqdn(true);
    Ok(name)
}
