//! `health`: says over HTTP that the process is alive.
//!
//! ```text
//! health [ADDRESS] {         :8080 unless given; the page is /health
//!     lameduck DURATION      at the end everything is served so long, while clients go elsewhere
//! }
//! ```
//!
//! It asks for its own page every second, and counts how long that takes: a process that has too much to do shows there.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::{
    metrics::{counter::Counter, histogram::Histogram},
    registry::Registry,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{Builder, args, metrics::Families};
use crate::{
    corefile::{Directive, Fault},
    http::Page,
};

const ADDRESS_DEFAULT: &str = ":8080";
const PATH: &str = "/health";
/// Between two requests to ourselves.
const PAUSE: Duration = Duration::from_secs(1);
/// For one of them.
const PATIENCE: Duration = Duration::from_secs(3);
/// The page is shorter.
const REPLY_BYTES_MAX: u64 = 4096;
const BUCKETS: [f64; 5] = [0.000_25, 0.002_5, 0.025, 0.25, 2.5];
const TARGET: &str = "plugin/health";

#[derive(Clone)]
struct Health {
    durations: Histogram,
    failures: Counter,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            durations: Histogram::new(BUCKETS),
            failures: Counter::default(),
        }
    }
}

impl Families for Health {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "coredns_health_request_duration_seconds",
            "How long our own request for the page took",
            self.durations.clone(),
        );
        registry.register(
            "coredns_health_request_failures",
            "Requests of our own that failed",
            self.failures.clone(),
        );
    }
}

/// Reads `health`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let address = directive.at_most_one("an address, such as :8080")?;
    let address = address.map_or(Ok(ADDRESS_DEFAULT), |word| word.host_and_port())?;
    for property in directive.properties() {
        if property.name.text != "lameduck" {
            return Err(property.unknown_property("health", &["lameduck"]));
        }
        let [duration] = property.exactly("a duration, such as 5s")?;
        let duration = duration.duration()?;
        builder.wanted.lameduck = builder.wanted.lameduck.max(duration);
    }
    builder.wanted.page(address, PATH, Page::ok);
    let health: Health = builder.environment.metrics.of();
    let host = if address.starts_with(':') {
        "localhost"
    } else {
        ""
    };
    builder
        .wanted
        .run(health.watch(format!("{host}{address}").into()));
    Ok(())
}

impl Health {
    async fn watch(self, address: Arc<str>) {
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let begun = Instant::now();
            let asked = timeout(PATIENCE, ask(&address)).await;
            let took = begun.elapsed();
            self.durations.observe(took.as_secs_f64());
            let url = format!("http://{address}{PATH}");
            match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Err(error) => {
                    self.failures.inc();
                    tracing::warn!(target: TARGET, "Local health request to {url:?} failed: {error}");
                }
                Ok(()) if took > PAUSE => {
                    tracing::warn!(
                        target: TARGET,
                        "Local health request to {url:?} took more than 1s: {took:?}"
                    );
                }
                Ok(()) => {}
            }
        }
    }
}

async fn ask(address: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream
        .take(REPLY_BYTES_MAX)
        .read_to_string(&mut reply)
        .await?;
    if reply.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other("another page"))
    }
}
