//! Wires what is followed to what the daemon does.

use std::path::PathBuf;

use anyhow::anyhow;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    AnswerFor,
    config::{Configuration, Place, Read},
    service,
};
use crate::{
    cli::serve::{
        run::{Daemon, Signals, run_sites},
        sites::Sites,
        source::{NO_SOURCE, Origin, SourceArgs},
    },
    kernel::Options as KernelOptions,
    source::cluster::{Connection, Limits},
};

/// What is wanted, checked.
pub(super) struct Options {
    pub config: Place,
    pub answer_for: AnswerFor,
    pub source: SourceArgs,
    pub control: Option<PathBuf>,
    pub kernel: KernelOptions,
}

/// Runs until a signal ends it, or an error.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    // First, so that a signal during the start is not lost.
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let mut beside: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let connection = if options.source.is_directory() {
        None
    } else {
        let access = options.source.access().ok_or_else(|| anyhow!(NO_SOURCE))?;
        Some(Connection::new(access, Limits::default()).await?)
    };

    let (addresses, changes_of_addresses) = watch::channel(Vec::new());
    match (options.answer_for, &connection) {
        (AnswerFor::Service(named), Some(connection)) => {
            let following = service::follow(connection.clone(), named, addresses.clone());
            spawn(&mut beside, &stop, following);
        }
        (AnswerFor::Given(given), _) => {
            addresses.send_replace(given);
        }
        (AnswerFor::Service(_), None) => return Err(anyhow!(NO_SOURCE)),
    }
    let own = connection.clone();
    let (latest, mut read) = watch::channel(None);
    spawn(
        &mut beside,
        &stop,
        options.config.follow(connection, latest),
    );

    // Until both are known there is nothing to do, and every query goes where it went before.
    let waiting = async {
        let configuration = first(&mut read).await?;
        let mut known = addresses.subscribe();
        let found = known.wait_for(|addresses| !addresses.is_empty()).await?;
        anyhow::Ok((configuration, found.clone()))
    };
    let (configuration, answer_for) = tokio::select! {
        waited = waiting => waited?,
        name = signals.wait() => {
            tracing::info!(signal = name, "stopping");
            stop.cancel();
            return Ok(());
        }
    };
    let allowances = configuration.allowances();
    allowances.answer_for(answer_for.clone());
    let sites = Sites::of_others(configuration.environment(), allowances.clone());
    // Where the Corefile says that the cluster is is where CoreDNS finds it.
    let source = match own {
        Some(connection) => Origin::of_cluster(connection, &sites),
        None => options.source.origin(&sites).await?,
    };

    let changing = change(configuration, read);
    let stopped = stop.clone();
    beside.spawn(async move {
        let ended = stopped.run_until_cancelled(changing).await;
        ended.unwrap_or(Ok(()))
    });
    let mut told = addresses.subscribe();
    spawn(&mut beside, &stop, async move {
        while told.changed().await.is_ok() {
            let addresses = told.borrow_and_update().clone();
            allowances.answer_for(addresses);
        }
    });
    let kernel = KernelOptions {
        answer_for,
        ..options.kernel
    };
    let daemon = Daemon {
        control: options.control,
        kernel,
        addresses: Some(changes_of_addresses),
        beside,
        stop,
    };
    // The sender of addresses that were given stays: they never change.
    let result = run_sites(sites, source, daemon, signals).await;
    drop(addresses);
    result
}

/// The latest, once there is another.
async fn next(read: &mut watch::Receiver<Option<Read>>) -> anyhow::Result<Read> {
    loop {
        read.changed().await?;
        if let Some(latest) = &*read.borrow_and_update() {
            return Ok(latest.clone());
        }
    }
}

/// The first configuration that can be used.
async fn first(read: &mut watch::Receiver<Option<Read>>) -> anyhow::Result<Configuration> {
    let mut last = String::new();
    loop {
        let error = match next(read).await? {
            Ok(corefile) => match Configuration::new(&corefile) {
                Ok(configuration) => return Ok(configuration),
                Err(error) => format!("{error:#}"),
            },
            Err(error) => error,
        };
        // A file is read again and again.
        if error != last {
            tracing::warn!("the kernel answers nothing yet: {error}");
            last = error;
        }
    }
}

async fn change(
    mut configuration: Configuration,
    mut read: watch::Receiver<Option<Read>>,
) -> anyhow::Result<()> {
    // Nobody reads it any more where all of this ends.
    while let Ok(read) = next(&mut read).await {
        configuration.change(read)?;
    }
    Ok(())
}

/// What ends when it is told to.
fn spawn(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
    running: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        stop.run_until_cancelled(running).await;
        Ok(())
    });
}
