//! A Corefile that changes while it is served: the kernel stops and starts to answer names with it, and no query in
//! between gets what neither of both configurations says.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    client::{self, PATIENCE, Query, rtype, summary},
    harness::Test,
    network::{DNS_V4, dns},
};

use crate::{
    corefile::serve,
    setup::{By, Setup, with_each_hook},
};

/// Queries that see that nothing goes back.
const ONCE_MORE: usize = 50;

pub fn tests() -> Vec<Test> {
    let mut tests = with_each_hook("reload::hosts_come_and_go", hosts_come_and_go);
    tests.extend(with_each_hook("reload::a_rewrite", a_rewrite));
    tests.extend(with_each_hook("reload::another_zone", another_zone));
    tests
}

/// A server block with these lines ahead of `kubernetes`.
fn corefile(lines: &str, zone: &str) -> String {
    format!(".:53 {{\nerrors\n{lines}\nkubernetes {zone} {{\nttl 30\n}}\nwhoami\n}}\n")
}

const CHECKOUT: (&str, &str) = ("checkout.shop.svc.cluster.local", "NOERROR 10.96.20.20");
const CART: (&str, &str) = ("cart.shop.svc.cluster.local", "NOERROR 10.96.20.30");
const NOTHING: (&str, &str) = ("nothing.shop.svc.cluster.local", "NXDOMAIN");

impl Setup {
    /// Another Corefile takes over.
    fn reload(&self, corefile: &str) -> Result<()> {
        fs::write(self.home.manifests().with_file_name("Corefile"), corefile)?;
        let pid = libc::pid_t::try_from(self.daemon.child.id())?;
        // SAFETY: kill() touches no memory of ours, and the child is not reaped yet, so that the number is still its own.
        let result = unsafe { libc::kill(pid, libc::SIGUSR1) };
        ensure!(result == 0, "no such process");
        Ok(())
    }

    fn asked(&self, name: &str) -> Result<(String, By)> {
        let (answer, by) = self.ask(dns(DNS_V4), &Query::new(name, rtype::A))?;
        Ok((summary(&answer)?, by))
    }

    fn is(&self, (name, expected): (&str, &str), expected_by: By) -> Result<()> {
        let (found, by) = self.asked(name)?;
        ensure!(
            found == expected,
            "{name}: {found} instead of {expected}, by the {by:?}"
        );
        ensure!(by == expected_by, "{name} was answered by the {by:?}");
        Ok(())
    }

    /// Asks until it is `after` and from there; until then it is `before`, whoever says so. Then it stays.
    fn becomes(&self, name: &str, before: &str, after: &str, after_by: By) -> Result<Duration> {
        let begun = Instant::now();
        let time = loop {
            let query = Query::new(name, rtype::A);
            let found = summary(&client::ask_udp(&self.network.pod, dns(DNS_V4), &query)?)?;
            let elapsed = begun.elapsed();
            // While programs take over, an answer of theirs may not be counted yet.
            if found == after && self.asked(name).is_ok_and(|(_, by)| by == after_by) {
                break elapsed;
            }
            ensure!(
                found == before || found == after,
                "{name}: {found}, neither {before} nor {after}"
            );
            ensure!(
                elapsed < PATIENCE,
                "{name}: still {found}, or not by the {after_by:?}\n{}",
                self.daemon.log()
            );
            thread::sleep(Duration::from_micros(500));
        };
        for _ in 0..ONCE_MORE {
            self.is((name, after), after_by).context("it went back")?;
        }
        Ok(time)
    }
}

fn told(what: &str, hook: &str, time: Duration) {
    println!("{hook}: {what} after {:.1} ms", time.as_secs_f64() * 1e3);
}

fn hosts_come_and_go(hook: &'static str) -> Result<()> {
    let setup = serve(hook, &corefile("", "cluster.local"))?;
    let (name, in_cluster) = CHECKOUT;
    setup.is(CHECKOUT, By::Kernel)?;
    let hosts = format!("hosts /nowhere {{\n10.9.9.9 {name}\nfallthrough\n}}");
    for _ in 0..2 {
        setup.reload(&corefile(&hosts, "cluster.local"))?;
        let of_hosts = "NOERROR 10.9.9.9";
        let time = setup.becomes(name, in_cluster, of_hosts, By::Socket)?;
        told("a name of `hosts` is the socket's", hook, time);
        // The others stay the kernel's.
        setup.is(CART, By::Kernel)?;
        setup.is(NOTHING, By::Kernel)?;
        setup.reload(&corefile("", "cluster.local"))?;
        let time = setup.becomes(name, of_hosts, in_cluster, By::Kernel)?;
        told("without `hosts` it is the kernel's", hook, time);
    }
    Ok(())
}

fn a_rewrite(hook: &'static str) -> Result<()> {
    let setup = serve(hook, &corefile("", "cluster.local"))?;
    setup.is(NOTHING, By::Kernel)?;
    // A name that does not exist begins to, by another's.
    let (name, absent) = NOTHING;
    let rewrite = format!("rewrite name exact {name} {}", CART.0);
    setup.reload(&corefile(&rewrite, "cluster.local"))?;
    let time = setup.becomes(name, absent, CART.1, By::Socket)?;
    told("a rewritten name is the socket's", hook, time);
    setup.is(CART, By::Kernel)?;
    // All names of a suffix.
    let rewrite = "rewrite ttl suffix .shop.svc.cluster.local. 1";
    setup.reload(&corefile(rewrite, "cluster.local"))?;
    let (name, found) = CHECKOUT;
    setup.becomes(name, found, found, By::Socket)?;
    let (_, by) = setup.asked("db.data.svc.cluster.local")?;
    ensure!(
        by == By::Kernel,
        "the {by:?} answered for another namespace"
    );
    setup.reload(&corefile("", "cluster.local"))?;
    setup.becomes(name, found, found, By::Kernel)?;
    setup.is(NOTHING, By::Kernel)
}

fn another_zone(hook: &'static str) -> Result<()> {
    let setup = serve(hook, &corefile("", "cluster.local"))?;
    setup.is(CHECKOUT, By::Kernel)?;
    let moved = "checkout.shop.svc.example.internal";
    // `whoami` answers for what `kubernetes` has no zone for, with nothing in the answer.
    let elsewhere = "NOERROR";
    setup.is((moved, elsewhere), By::Socket)?;
    let (name, found) = CHECKOUT;
    for _ in 0..2 {
        setup.reload(&corefile("", "example.internal"))?;
        let time = setup.becomes(moved, elsewhere, found, By::Kernel)?;
        told("names of another zone are the kernel's", hook, time);
        setup.is((name, elsewhere), By::Socket)?;
        setup.is(
            ("nothing.shop.svc.example.internal", "NXDOMAIN"),
            By::Kernel,
        )?;
        setup.reload(&corefile("", "cluster.local"))?;
        setup.becomes(name, elsewhere, found, By::Kernel)?;
        setup.is((moved, elsewhere), By::Socket)?;
    }
    Ok(())
}
