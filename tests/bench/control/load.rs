//! What one node costs the API server, and from that what 5,000 cost it.
//!
//! Bytes are those of the connections, as a proxy on the way has counted them: encrypted, and compressed where the API
//! server does that (long lists). CPU and memory are those of the API server's process.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Result, bail};
use futures_util::StreamExt as _;
use hopzero::source::cluster::{Wanted, Watched};
use hopzero_tests::namespace::Namespace;
use kube::{
    Client,
    core::{
        DynamicObject, ObjectList, PartialObjectMeta, Request, WatchEvent,
        params::{ListParams, WatchParams},
    },
};

use super::{
    memory,
    objects::Shape,
    plane::{Plane, cpu_seconds},
    proxy::Proxy,
};

/// Objects that change, of each kind.
pub const CHANGES: u32 = 200;
/// All of them have been told by then.
const TOLD: Duration = Duration::from_secs(2);
/// Lists of either sort.
const LISTS: u32 = 5;

/// Of each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Both {
    /// Bytes.
    pub hopzero: u64,
    /// Bytes.
    pub coredns: u64,
}

/// A way to list, as it costs the API server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// On the connection.
    pub bytes: f64,
    /// Of the API server, milliseconds.
    pub cpu_ms: f64,
    /// By how much its memory grew at most.
    pub megabytes: f64,
}

/// All that was counted.
#[derive(Debug, Default)]
pub struct Loads {
    /// The start.
    pub list: Both,
    /// The same where every slice is wanted.
    pub list_all: Both,
    /// [`CHANGES`] services.
    pub service: Both,
    /// As many slices of services with an address.
    pub slice: Both,
    /// As many of headless ones.
    pub headless: Both,
    /// A list in pages.
    pub paged: Cost,
    /// A streamed list.
    pub streamed: Cost,
    /// Names and versions, in pages.
    pub audit: Cost,
}

/// What both are told of changes.
pub fn changes(
    plane: &Plane,
    node: &Namespace,
    shape: &Shape,
    by: (&Proxy, &Proxy),
    loads: &mut Loads,
) -> Result<()> {
    println!("changes …");
    for (slices, from, told) in [
        (false, 0, &mut loads.service),
        (true, 0, &mut loads.slice),
        (true, shape.cluster_ip, &mut loads.headless),
    ] {
        let before = (by.0.down(), by.1.down());
        plane.touch(node, slices, from, CHANGES)?;
        thread::sleep(TOLD);
        *told = Both {
            hopzero: by.0.down() - before.0,
            coredns: by.1.down() - before.1,
        };
    }
    Ok(())
}

/// What lists cost the API server, in pages and streamed, and what an audit does.
pub fn lists(plane: &Plane, node: &Namespace, loads: &mut Loads) -> Result<()> {
    println!("lists …");
    let proxy = Proxy::start(node, plane.server)?;
    let by = proxy.address;
    loads.paged = cost(plane, &proxy, || work(plane, node, by, Sort::Paged))?;
    loads.streamed = cost(plane, &proxy, || work(plane, node, by, Sort::Streamed))?;
    loads.audit = cost(plane, &proxy, || work(plane, node, by, Sort::Names))?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Sort {
    Paged,
    Streamed,
    /// Names and versions, in pages.
    Names,
}

/// [`LISTS`] of what hopzero watches unless an option wants more.
fn work(plane: &Plane, node: &Namespace, by: SocketAddr, sort: Sort) -> Result<()> {
    plane.with_client(node, by, async move |client: Client| {
        for _ in 0..LISTS {
            for watched in Wanted::default().watches() {
                match sort {
                    Sort::Streamed => streamed(&client, watched).await?,
                    Sort::Paged => paged(&client, watched, false).await?,
                    Sort::Names => paged(&client, watched, true).await?,
                }
            }
        }
        Ok(())
    })
}

async fn paged(client: &Client, watched: Watched, names: bool) -> Result<()> {
    let mut params = ListParams {
        label_selector: watched.selector.map(str::to_owned),
        limit: Some(watched.resource.page_objects_max),
        ..ListParams::default()
    };
    loop {
        let request = Request::new(watched.resource.path);
        let next = if names {
            let request = request.list_metadata(&params)?;
            let list: ObjectList<PartialObjectMeta> = client.request(request).await?;
            list.metadata.continue_
        } else {
            let list: ObjectList<DynamicObject> = client.request(request.list(&params)?).await?;
            list.metadata.continue_
        };
        match next.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

async fn streamed(client: &Client, watched: Watched) -> Result<()> {
    let params = WatchParams {
        label_selector: watched.selector.map(str::to_owned),
        ..WatchParams::default().initial_events()
    };
    let request = Request::new(watched.resource.path).watch(&params, "")?;
    let mut events = client
        .request_events::<DynamicObject>(request)
        .await?
        .boxed();
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Bookmark(bookmark)
                if bookmark
                    .metadata
                    .annotations
                    .contains_key("k8s.io/initial-events-end") =>
            {
                return Ok(());
            }
            WatchEvent::Error(status) => bail!("{status:?}"),
            _ => {}
        }
    }
    bail!("a stream ended early")
}

fn cost(plane: &Plane, proxy: &Proxy, work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let server = plane.api_server()?;
    memory::forget_peak(server)?;
    let (bytes, cpu) = (proxy.down(), cpu_seconds(server)?);
    let resident = memory::status(server, "VmRSS:")?;
    work()?;
    let lists = f64::from(LISTS);
    Ok(Cost {
        bytes: float(proxy.down() - bytes) / lists,
        cpu_ms: (cpu_seconds(server)? - cpu) * 1e3 / lists,
        megabytes: (memory::status(server, "VmHWM:")? - resident).max(0.0),
    })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn float(bytes: u64) -> f64 {
    bytes as f64
}
