//! The programs in the kernel: loaded, attached, counted.
//!
//! Programs, maps and links belong to this process, and the kernel removes them with it, however it ends; unless they are
//! pinned, so that the next daemon takes over without a gap (`pins`). (Filters of clsact, on old kernels, have no owner: `clsact`.)
//!
//! | module | concept |
//! |---|---|
//! | `follow` | the table follows the zone |
//! | `links`, `select` | the node's devices as they come and go, and which of them are pods' |
//! | `devices` | how each is attached to, tested, and tried again |
//! | `mode`, `attach`, `clsact` | the modes |
//! | `pins` | what outlasts the daemon, how the next one takes it over, and how it is removed |
//! | `probe` | a query is sent through a device, and has to come back |
//! | `foreign` | other agents' programs, by name |
//! | `control`, `lease`, `switch`, `grace` | what the programs are told, for how long they believe it, and how they are waited for |
//! | `local` | addresses of the node's own, for a server that listens there |
//! | `counters`, `status` | what is told of them |
//! | `survey` | what a node looks like, for `hopzero check` |

mod attach;
mod clsact;
mod control;
mod counters;
mod devices;
mod error;
mod follow;
mod foreign;
mod grace;
mod lease;
mod links;
mod loaded;
mod local;
mod mode;
mod netlink;
mod object;
mod options;
mod pins;
mod probe;
mod route;
mod select;
mod status;
pub mod survey;
mod switch;
mod tally;
mod trace;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData},
};
use hickory_proto::rr::Name;
use hopzero_common::{layout::Control, limits::CELL_WORDS};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

pub use attach::Attached;
pub use counters::{Counters, Counts};
pub use error::KernelError;
pub use follow::Follower;
pub use lease::{LEASE_DEFAULT, RENEWED_EVERY};
pub use links::{Changes, Link, Pod, Watch};
pub use local::LocalAddresses;
pub use mode::{Hook, Mode};
pub use object::OBJECT;
pub use options::{Options, RATE_LIMIT_DEFAULT, RATE_LIMIT_MAX, VLANS};
pub use pins::{DIRECTORY_DEFAULT, PinError, Removed, detach, unpin};
pub use route::device_towards;
pub use select::{BRIDGES, NetworkPlugin, Place, PlaceError, Pods, Selection, device, pattern};
pub use status::Status;
pub use switch::{HookSwitch, Switch, SwitchError, Switched, Target};

use crate::publisher::{
    Publisher,
    memory::Words,
    table::{Capacity, Table},
};
use control::ControlBlock;
use devices::Device;
use grace::Grace;
use lease::Clock;
use loaded::Loaded;
use pins::Generation;
use probe::Prober;
use switch::Switches;
use trace::{LOG_LEVEL_DEBUG, start_logger};

/// What the map NETWORKS has for a network, bytes: an element of `BPF_MAP_TYPE_LRU_HASH` (48 of the kernel's, key,
/// value) and its bucket's head.
const NETWORK_BYTES: u64 = 48 + 8 + 8 + 16;

/// Loaded programs, and the table that they answer from.
pub struct Kernel {
    // Dropped first: what is detached asks nothing of the maps.
    devices: BTreeMap<u32, Device>,
    /// Link-layer addresses that are no attached device's.
    macs: Vec<([u8; 6], bool)>,
    /// When a device was last tested.
    tested: Instant,
    prober: Prober,
    control: Arc<ControlBlock>,
    /// Writes names into the table.
    pub publisher: Publisher,
    counters: Arc<Counters>,
    /// The same map, to be pinned.
    counted: MapData,
    clock: Clock,
    _logger: Option<AbortOnDropHandle<()>>,
    /// What of it is pinned.
    pinned: Option<Generation>,
    rate_limit: u32,
    networks: u32,
    ebpf: Ebpf,
}

impl Kernel {
    /// What can be known before there is anything to load.
    ///
    /// # Errors
    /// What is missing, and the remedy.
    pub fn check(options: &Options) -> Result<(), KernelError> {
        OBJECT.ok_or(KernelError::NoObject)?;
        error::check_capabilities()?;
        control::check_addresses(&options.answer_for)?;
        if let Some(directory) = &options.pin {
            pins::Place::check(directory)?;
        }
        for device in &options.devices {
            attach::index_of(device)?;
        }
        Ok(())
    }

    /// Loads the programs with an empty table; they pass everything until [`Self::renew_lease`] and
    /// [`Self::answer`].
    ///
    /// # Errors
    /// What is missing, and the remedy.
    pub fn load(options: &Options, capacity: Capacity) -> Result<Self, KernelError> {
        Self::load_object(OBJECT.ok_or(KernelError::NoObject)?, options, capacity)
    }

    /// The same with another object that has these programs and maps, for tests.
    ///
    /// # Errors
    /// What is missing, and the remedy.
    pub fn load_object(
        object: &[u8],
        options: &Options,
        capacity: Capacity,
    ) -> Result<Self, KernelError> {
        let log_level = if options.trace { LOG_LEVEL_DEBUG } else { 0 };
        let mut ebpf = EbpfLoader::new()
            .override_global("AYA_LOG_LEVEL", &log_level, false)
            .map_max_entries("INDEX", capacity.index_buckets())
            .map_max_entries("CELLS", capacity.cells)
            .map_max_entries("NETWORKS", options.networks())
            .load(object)
            .map_err(|error| KernelError::from_load(&error))?;
        let index = map_words(
            &mut ebpf,
            "INDEX",
            capacity.index_buckets() as usize * CELL_WORDS,
        )?;
        let cells = map_words(&mut ebpf, "CELLS", capacity.cells as usize * CELL_WORDS)?;
        let control = map_words(
            &mut ebpf,
            "CONTROL",
            size_of::<Control>() / size_of::<u64>(),
        )?;
        attach::load_clock(&mut ebpf)?;
        let clock = map_words(&mut ebpf, "CLOCK", 1)?;
        let clock = Clock::new(&ebpf, clock)?;
        let seed = control::random_seed();
        let control = Arc::new(ControlBlock::new(control, capacity, seed, options));
        control.rotate(options.rotate);
        let counted = counters::copy(&ebpf)?;
        let counters = Arc::new(Counters::new(&mut ebpf)?);
        let logger = (options.trace.then(|| start_logger(&mut ebpf))).flatten();
        let programs = Loaded {
            control: Arc::clone(&control),
            grace: Grace::new(&mut ebpf)?,
        };
        let probe = map_words(&mut ebpf, "PROBE", probe::WORDS)?;
        Ok(Kernel {
            devices: BTreeMap::new(),
            macs: Vec::new(),
            tested: Instant::now(),
            prober: Prober::new(probe),
            publisher: Publisher::new(Table::new(index, cells, capacity, seed), Box::new(programs)),
            control,
            counters,
            counted,
            clock,
            _logger: logger,
            pinned: None,
            rate_limit: options.rate_limit.unwrap_or(RATE_LIMIT_DEFAULT),
            networks: options.networks(),
            ebpf,
        })
    }

    /// Loads both programs without attaching them, for tests and benchmarks.
    ///
    /// # Errors
    /// What the verifier says.
    pub fn load_programs(&mut self) -> Result<(), KernelError> {
        attach::load(&mut self.ebpf)
    }

    /// Adds a link-layer destination that XDP answers for, without a limit.
    ///
    /// # Errors
    /// There are too many.
    pub fn trust_mac(&mut self, mac: [u8; 6]) -> Result<(), KernelError> {
        self.add_mac(mac, false)
    }

    /// The same with the limit.
    ///
    /// # Errors
    /// There are too many.
    pub fn limit_mac(&mut self, mac: [u8; 6]) -> Result<(), KernelError> {
        self.add_mac(mac, true)
    }

    fn add_mac(&mut self, mac: [u8; 6], limited: bool) -> Result<(), KernelError> {
        self.macs.push((mac, limited));
        self.control.set_macs(&self.macs())
    }

    /// What can be switched off and on at any time.
    pub fn switches(&self) -> Switches {
        Switches::new(Arc::clone(&self.control), self.zones())
    }

    /// The zones that the programs know, by their places.
    fn zones(&self) -> Vec<(usize, Name)> {
        let zones = self.publisher.zones();
        zones.map(|(index, name)| (index, name.clone())).collect()
    }

    /// Lets the programs answer for so long from now on; not at all if the machine was suspended since
    /// the last renewal, until the next one.
    ///
    /// # Errors
    /// The kernel does not tell the time, and the lease is as it was.
    pub fn renew_lease(&mut self, lease: Duration) -> Result<(), KernelError> {
        renew(&mut self.clock, &self.ebpf, &self.control, lease)?;
        // By now the ticks of a second are known.
        let ticks = self.clock.rate().unwrap_or(1);
        self.control.limit(self.rate_limit, ticks);
        Ok(())
    }

    /// The publisher, and what it is to call while it works: progress renews the lease.
    pub fn publishing<'a>(
        &'a mut self,
        lease: Duration,
        status: &'a Status,
    ) -> (&'a mut Publisher, impl FnMut()) {
        let Kernel {
            publisher,
            clock,
            ebpf,
            control,
            ..
        } = self;
        let mut renewed: Option<Instant> = None;
        let progress = move || {
            if renewed.is_none_or(|at| at.elapsed() >= RENEWED_EVERY) {
                renewed = Some(Instant::now());
                match renew(clock, ebpf, control, lease) {
                    Ok(()) => status.renewed(lease),
                    Err(error) => warn!(%error, "the lease is not renewed"),
                }
            }
        };
        (publisher, progress)
    }

    /// Lets the programs answer, or makes them pass everything.
    pub fn answer(&self, on: bool) {
        self.control.answer(on);
    }

    /// Answers queries to these addresses from now on, and to no others.
    ///
    /// # Errors
    /// There are too many, or the kernel does not say when the programs that run have ended: then fewer are answered for.
    pub(super) fn answer_for(
        &mut self,
        before: &[IpAddr],
        now: &[IpAddr],
    ) -> Result<(), KernelError> {
        let Kernel {
            control, publisher, ..
        } = self;
        control.set_addresses(before, now, || publisher.wait_for_programs())
    }

    /// Rotates the addresses of an answer from query to query, or stops to.
    pub fn rotate(&self, on: bool) {
        self.control.rotate(on);
    }

    /// What the programs count.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The loaded object, for tests and benchmarks.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Devices, programs and capacity: what does not change once it is attached.
    pub fn describe(&self) -> serde_json::Value {
        let table = self.publisher.table();
        let programs: Vec<_> = (self.ebpf.programs())
            .filter_map(|(name, program)| {
                // Only what is loaded has an id.
                Some(json!({"name": name, "id": program.info().ok()?.id()}))
            })
            .collect();
        let mut description = json!({
            "devices": self.describe_devices(),
            "programs": programs,
            "capacity": table.capacity().names,
            "bytes": table.capacity().bytes() + u64::from(self.networks) * NETWORK_BYTES,
        });
        if let Some(pinned) = &self.pinned {
            let is_ours = pinned.place().is_ours();
            description["pinned"] = json!(pinned.path().display().to_string());
            description["taken_over"] = json!(!is_ours);
        }
        description
    }
}

fn renew(
    clock: &mut Clock,
    ebpf: &Ebpf,
    control: &ControlBlock,
    lease: Duration,
) -> Result<(), KernelError> {
    let until = clock.until(ebpf, lease)?;
    control.lease_until(until.unwrap_or(0));
    Ok(())
}

/// The shared memory of an array map.
fn map_words(ebpf: &mut Ebpf, name: &'static str, words: usize) -> Result<Words, KernelError> {
    let Some(Map::Array(map)) = ebpf.map(name) else {
        return Err(KernelError::Object { what: name });
    };
    Words::map(map.fd(), words).map_err(|source| KernelError::Memory { name, source })
}
