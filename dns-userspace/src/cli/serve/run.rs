//! Wires the stages of the daemon together, and takes them apart again.
//!
//! ```text
//! Origin ─batches─→  apply (a thread) ─write lock→ Zone ←read lock─ socket server
//!                          └─touched names→ publisher, lease
//! Allowances ─what it may answer─┘
//! ```

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, anyhow};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Options,
    apply::{Steps, apply},
    kernel,
    live::Live,
    sites::{Site, Sites},
    source::Origin,
};
use crate::{
    control::{self, ClusterReport, Control, Reply, Report, Request, SwitchReply},
    kernel::{
        Changes, Follower, LocalAddresses, Options as KernelOptions, Selection, SwitchError, Watch,
    },
    plugin::clusters::Clusters,
    socket::{Service, SocketCounters},
    source::{Source, cluster::ClusterMetrics},
};

/// Batches that wait for the zone. A source that is faster waits.
const BATCHES_MAX: usize = 16;
/// The name of the thread that applies batches; at most 15 bytes, for the kernel.
const APPLY_THREAD: &str = "apply";

/// A connection is a file. The soft limit is mostly 1024, for the sake of programs that use `select`.
fn allow_files() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Else there are fewer.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// Runs the daemon until a signal ends it, or an error.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    allow_files();
    // First, so that a signal during the start is not lost.
    let signals = Signals::new()?;
    // They go when this function ends, however that is, unless something stays pinned.
    let _local = LocalAddresses::take(&options.local, options.kernel.pin.as_deref())?;
    let takes_over = options.kernel.pin.is_some();
    let sites = match &options.conf {
        Some(path) => Sites::of_corefile(path, &options.kernel.answer_for, takes_over)?,
        None => Sites::of_zone(options.listen, options.zone, options.rotate, takes_over)?,
    };
    let source = options.source.origin(&sites).await?;
    let daemon = Daemon {
        control: options.control,
        kernel: options.kernel,
        addresses: None,
        beside: JoinSet::new(),
        stop: CancellationToken::new(),
    };
    run_sites(sites, source, daemon, signals).await
}

/// What there is beyond what is served, and where that comes from.
pub(in crate::cli) struct Daemon {
    /// The path of the control socket.
    pub control: Option<PathBuf>,
    /// What the kernel does.
    pub kernel: KernelOptions,
    /// To which addresses queries are answered in the kernel, where that changes.
    pub addresses: Option<watch::Receiver<Vec<IpAddr>>>,
    /// What goes on beside it until it is stopped; its error ends the daemon.
    pub beside: JoinSet<anyhow::Result<()>>,
    /// Ends all of it.
    pub stop: CancellationToken,
}

/// Runs until a signal ends it, or an error.
pub(in crate::cli) async fn run_sites(
    sites: Sites,
    source: Origin,
    options: Daemon,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let control = bind_control(options.control.as_deref())?;
    let selection = options.kernel.pods.clone();
    let follower = kernel::follower(options.kernel)?;
    let watch = selection.filter(|_| follower.is_some());
    let kernel = follower.as_ref().map(Follower::status);
    if let (Some(live), Some(kernel)) = (&sites.live, &kernel) {
        live.count(Arc::clone(kernel) as _);
    }

    let counters = Arc::new(SocketCounters::default());
    // Set when the first complete zone is served, by the programs too: whoever waits for it can ask.
    let synchronised = Arc::new(AtomicBool::new(false));
    let stop = options.stop;
    let mut tasks = options.beside;

    let listen = listed(&sites.addresses());
    if let Some(control) = control {
        let (synchronised, counters) = (Arc::clone(&synchronised), Arc::clone(&counters));
        let (zones, watches) = (sites.zones.clone(), sites.cluster_metrics.clone());
        let reply = move |request| match request {
            Request::Report => Reply::Report(Box::new(Report {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                uptime_seconds: started.elapsed().as_secs(),
                synchronised: synchronised.load(Ordering::Acquire),
                cluster: cluster(&zones, &watches),
                kernel: kernel.as_ref().map(|status| status.report()),
                socket: counters.snapshot(),
            })),
            Request::Switch(switch) => {
                let kernel = kernel.as_ref().ok_or(SwitchError::NotAttached);
                Reply::Switch(match kernel.and_then(|status| status.switch(&switch)) {
                    Ok(off) => SwitchReply::Done(off),
                    Err(error) => SwitchReply::Refused(error.to_string()),
                })
            }
        };
        let running = control.run(reply, stop.clone());
        spawn(&mut tasks, running);
    }
    let pods = follow_pods(watch, &mut tasks, &stop)?;
    // When all that is asked can be answered, where another daemon answers until then.
    let ready = CancellationToken::new();
    let served = Served {
        counters,
        stop: stop.clone(),
        ready: ready.clone(),
    };
    serve(sites.sockets, sites.live, &served, &mut tasks);

    let (sender, changes) = mpsc::channel(BATCHES_MAX);
    let following = source.run(sender, stop.clone());
    let (ended, applying) = oneshot::channel();
    let (zones, programming) = (sites.zones, sites.programming);
    let steps = Steps::new(changes, sites.allowances.subscribe(), pods);
    let steps = steps.with_addresses(options.addresses);
    let runtime = Handle::current();
    // With a name of its own, by which `top -H` and debuggers find it.
    thread::Builder::new()
        .name(APPLY_THREAD.to_owned())
        .spawn(move || {
            let _entered = runtime.enter();
            let result = apply(steps, &zones, follower, &programming, |names| {
                synchronised.store(true, Ordering::Release);
                ready.cancel();
                tracing::info!(
                    listen,
                    names,
                    seconds = started.elapsed().as_secs_f32(),
                    "serving"
                );
            });
            // Nobody waits for it any more where the daemon ends with another error.
            let _ = ended.send(result);
        })?;
    let source_stop = stop.clone();
    tasks.spawn(async move {
        // Together, since each ends when the other does: the error is that of the cause.
        tokio::try_join!(following, async {
            applying.await.context("the zone is broken")?
        })?;
        // A source ends only when it is told to.
        if source_stop.is_cancelled() {
            Ok(())
        } else {
            Err(anyhow!("the source of changes ended"))
        }
    });

    let result = tokio::select! {
        name = signals.wait() => {
            tracing::info!(signal = name, "stopping");
            sites.lameduck.last().await;
            Ok(())
        }
        error = sites.failures.first() => Err(anyhow!(error)),
        ended = first_error(&mut tasks) => ended,
    };
    stop.cancel();
    let mut result = result;
    while !tasks.is_empty() {
        // The first error is the cause; what ends because of it says less.
        result = result.and(first_error(&mut tasks).await);
    }
    result
}

/// What sockets are served with.
#[derive(Clone)]
struct Served {
    counters: Arc<SocketCounters>,
    stop: CancellationToken,
    ready: CancellationToken,
}

impl Served {
    /// Whether all that is asked can be answered, before it is to stop.
    async fn is_ready(&self) -> bool {
        let ready = self.stop.run_until_cancelled(self.ready.cancelled());
        ready.await.is_some()
    }
}

/// Serves; where another daemon has the addresses yet, once it is ready.
fn serve(
    sockets: Vec<(Site, Arc<dyn Service>)>,
    live: Option<Live>,
    served: &Served,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) {
    for (site, service) in sockets {
        let served = served.clone();
        tasks.spawn(async move {
            if let Some(server) = site.open(served.is_ready()).await? {
                server.run(service, served.counters, served.stop).await;
            }
            Ok(())
        });
    }
    if let Some(mut live) = live {
        let served = served.clone();
        tasks.spawn(async move {
            if !live.is_later() || served.is_ready().await {
                live.open_beside()?;
                live.run(served.counters, served.stop).await;
            }
            Ok(())
        });
    }
}

/// What is known of the cluster; all zones have the same, but for what each shows.
fn cluster(zones: &Clusters, watches: &ClusterMetrics) -> ClusterReport {
    let zone = zones.hold().first().map(Arc::clone);
    // One that is half changed says nothing.
    let known = zone.and_then(|zone| {
        let zone = zone.read().ok()?;
        Some((zone.counts(), zone.serial()))
    });
    let (objects, changed_unix) = known.unwrap_or_default();
    ClusterReport {
        objects,
        changed_unix,
        watches: watches.watches(),
    }
}

/// Follows the node's devices from here on, whenever there is something to attach.
fn follow_pods(
    selection: Option<Selection>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> anyhow::Result<Arc<Changes>> {
    let changes: Arc<Changes> = Arc::default();
    if let Some(selection) = selection {
        let watch = Watch::open(selection).context("cannot follow the node's devices")?;
        let (pods, stop) = (Arc::clone(&changes), stop.clone());
        spawn(tasks, async move {
            stop.run_until_cancelled(watch.run(&pods)).await;
        });
    }
    Ok(changes)
}

fn listed(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(",")
}

/// What ends without a word.
fn spawn(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    running: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(async move {
        running.await;
        Ok(())
    });
}

/// Waits for all tasks; the first error ends the wait.
async fn first_error(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task of the daemon")??;
    }
    Ok(())
}

/// The control socket. At the default path, which only root may create, it is left out rather
/// than required.
fn bind_control(path: Option<&Path>) -> anyhow::Result<Option<Control>> {
    match Control::bind(path.unwrap_or(Path::new(control::PATH_DEFAULT))) {
        Ok(control) => Ok(Some(control)),
        Err(error) if path.is_none() && error.is_permission_denied() => {
            tracing::warn!(%error, "no control socket: `hopzero stats` will not find this daemon");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The signals that stop the daemon.
pub(in crate::cli) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on none is lost.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Which one has come.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
