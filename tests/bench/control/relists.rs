//! R9, the peak: what it takes to list everything again, fifty times, beside what is held.
//!
//! Each time the API server has forgotten the version that is held, and has changed a hundred objects meanwhile that
//! no event tells of. The peak is the highest resident set of the process (`VmHWM`), mapped BPF maps included.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use hopzero_tests::network::Network;

use super::{
    memory,
    objects::{SERVICES, SLICES, Shape},
    ours::{self, Ours},
    scripted::{self, Lists, Scripted},
};
use crate::{
    cpu::{self, CLIENT_CPU},
    figures::{Figures, Target},
    servers::directory,
};

const PEAK: Target = Target::AtMost(1.3);
/// 10,000 services and 100,000 endpoints of headless ones.
const SHAPE: Shape = Shape {
    cluster_ip: 9000,
    headless: 1000,
    endpoints: 0,
    headless_endpoints: 100,
};
/// How many services change before each list.
const CHANGES: u32 = 100;
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(20);
/// What is freed after a list is given back by then.
const REST: Duration = Duration::from_secs(1);

/// Measures it, with lists of either sort.
pub fn measure(quick: bool, figures: &mut Figures) -> Result<()> {
    let relists = if quick { 10 } else { 50 };
    for (lists, name) in [(Lists::Streamed, "streamed"), (Lists::Paged, "paged")] {
        println!("\n{relists} lists of 10,000 services and 100,000 endpoints, {name} …");
        let network = Network::new()?;
        let directory = directory()?;
        let server = Scripted::start(&network.node, &SHAPE, lists)?;
        cpu::pin_this_thread(CLIENT_CPU)?;
        let kubeconfig = ours::kubeconfig(&directory.path, server.address)?;
        let ours = Ours::start(&network, &directory.path, &kubeconfig, "")?;
        let first = memory::status(ours.pid(), "VmHWM:")?;
        thread::sleep(REST);
        let steady = memory::status(ours.pid(), "VmRSS:")?;
        memory::forget_peak(ours.pid())?;
        for relist in 0..relists {
            let time = u8::try_from(relist % 15 + 1)?;
            for number in 0..CHANGES {
                let object = scripted::service(&SHAPE, number * 90, time);
                server.change_quietly(SERVICES, usize::try_from(number * 90)?, object)?;
            }
            let before = [SERVICES, SLICES].map(|path| server.listed(path));
            server.forget();
            let begun = Instant::now();
            while [SERVICES, SLICES].map(|path| server.listed(path)) <= before
                || server.listed(SERVICES) == before[0]
                || server.listed(SLICES) == before[1]
            {
                ensure!(begun.elapsed() < PATIENCE, "nothing is listed again");
                thread::sleep(LOOK);
            }
        }
        thread::sleep(REST);
        let peak = memory::status(ours.pid(), "VmHWM:")?;
        let after = memory::status(ours.pid(), "VmRSS:")?;
        let mut add = |suffix: &str, what: &str, unit, target, value| {
            let name = format!("R9.{name}.{suffix}");
            figures.add(&name, what, unit, target, vec![value]);
        };
        add(
            "peak",
            "highest resident set during the lists / before them",
            "ratio",
            PEAK,
            peak / steady,
        );
        add(
            "first",
            "highest resident set during the first list / after it",
            "ratio",
            PEAK,
            first / steady,
        );
        add(
            "steady",
            "resident set after the first list, mapped maps included",
            "MB",
            Target::None,
            steady,
        );
        add(
            "after",
            "the same after all of them",
            "MB",
            Target::None,
            after,
        );
    }
    Ok(())
}
