//! Wires the stages of the daemon together, and takes them apart again.
//!
//! ```text
//! Manifests ─batches→ apply (a thread) ─write lock→ Zone ←read lock─ socket server
//!                          └─touched names→ publisher, lease
//! ```

use std::{
    path::Path,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Options, kernel, sites::Sites};
use crate::{
    control::{self, Control, Reply, Report, Request, SwitchReply},
    kernel::{Follower, RENEWED_EVERY, SwitchError},
    socket::SocketCounters,
    source::{Batch, Source, manifests::Manifests},
    zone::Zone,
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
    let started = Instant::now();
    allow_files();
    // First, so that a signal during the start is not lost.
    let signals = Signals::new()?;
    let sites = match &options.conf {
        Some(path) => Sites::of_corefile(path)?,
        None => Sites::of_zone(options.listen, options.zone, options.rotate)?,
    };
    let control = bind_control(options.control.as_deref())?;
    let follower = kernel::follower(options.kernel)?;
    let kernel = follower.as_ref().map(Follower::status);

    let counters = Arc::new(SocketCounters::default());
    // Set when the first complete zone is served, by the programs too: whoever waits for it can ask.
    let synchronised = Arc::new(AtomicBool::new(false));
    let stop = CancellationToken::new();
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();

    let listen = sites
        .addresses()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let listen = listen.join(",");
    if let Some(control) = control {
        let (synchronised, counters) = (Arc::clone(&synchronised), Arc::clone(&counters));
        let reply = move |request| match request {
            Request::Report => Reply::Report(Box::new(Report {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                uptime_seconds: started.elapsed().as_secs(),
                synchronised: synchronised.load(Ordering::Acquire),
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
        tasks.spawn(async move {
            running.await;
            Ok(())
        });
    }
    for (server, service) in sites.sockets {
        let serving = server.run(service, Arc::clone(&counters), stop.clone());
        tasks.spawn(async move {
            serving.await;
            Ok(())
        });
    }

    let (sender, changes) = mpsc::channel(BATCHES_MAX);
    let source = Manifests::new(options.manifests, options.service_cidrs);
    let following = source.run(sender, stop.clone());
    let (ended, applying) = oneshot::channel();
    let zones = sites.zones;
    let runtime = Handle::current();
    // With a name of its own, by which `top -H` and debuggers find it.
    thread::Builder::new()
        .name(APPLY_THREAD.to_owned())
        .spawn(move || {
            let _entered = runtime.enter();
            let result = apply(changes, &zones, follower, |names| {
                synchronised.store(true, Ordering::Release);
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

/// Applies batches until there is no more source. The programs are detached on return.
///
/// The lease is renewed here, before and after each batch, as it makes progress, and when none comes, and
/// nowhere else: whatever keeps a batch from being applied keeps the lease from being renewed. (That a source has fallen silent cannot
/// be seen here: it looks like one that has nothing to say.)
fn apply(
    mut changes: mpsc::Receiver<Batch>,
    zones: &[Arc<RwLock<Zone>>],
    mut follower: Option<Follower>,
    synchronised: impl FnOnce(usize),
) -> anyhow::Result<()> {
    let poisoned = || anyhow!("a change to the zone was left half done");
    let mut synchronised = Some(synchronised);
    let mut names = 0;
    let runtime = Handle::current();
    loop {
        let next = async { tokio::time::timeout(RENEWED_EVERY, changes.recv()).await };
        let batch = match runtime.block_on(next) {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(()),
            Err(_elapsed) => {
                if let (Some(follower), Some(zone)) = (&mut follower, zones.first()) {
                    follower.follow(&*zone.read().map_err(|_| poisoned())?, &[])?;
                    follower.renew();
                }
                continue;
            }
        };
        // All that came before is applied. A large batch may take a second or two before it comes to the publisher,
        // from where on its progress renews the lease.
        if let Some(follower) = &mut follower {
            follower.renew();
        }
        let mut is_synchronised = true;
        for (index, zone) in zones.iter().enumerate() {
            let touched = (zone.write().map_err(|_| poisoned())?).apply(batch.clone(), now_unix());
            let zone = zone.read().map_err(|_| poisoned())?;
            // The kernel has one zone; what only another one knows passes.
            if let Some(follower) = &mut follower
                && index == 0
            {
                follower.follow(&zone, &touched)?;
            }
            names += touched.len();
            is_synchronised &= zone.is_synchronised();
            tracing::debug!(touched = touched.len(), "applied");
        }
        if let Some(follower) = &mut follower {
            follower.renew();
        }
        if is_synchronised && let Some(synchronised) = synchronised.take() {
            synchronised(names);
        }
    }
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

/// The serial's clock. After 2106 it wraps, as serials do (RFC 1982).
fn now_unix() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "modulo 2^32 is what a serial is"
    )]
    now.map_or(0, |elapsed| elapsed.as_secs() as u32)
}

/// The signals that stop the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
