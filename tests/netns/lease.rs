//! A daemon that hangs, or is stopped, loses the lease: the kernel passes everything, and answers again
//! when the daemon is back.

use std::{
    fs,
    io::ErrorKind,
    net::UdpSocket,
    ptr, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use aya::{
    maps::{Map, MapData},
    programs::loaded_programs,
};
use hopzero::kernel::{self, LEASE_DEFAULT};
use hopzero_common::reason::Reason;
use hopzero_tests::{
    client::{Query, any, rtype, summary},
    daemon::ended,
    harness::Test,
    loaded::{Loaded, attached},
    network::{DNS_V4, NODE_DEVICE, dns},
};

use crate::setup::{Setup, with_each_hook};

/// What a busy machine may add to the length of a lease.
const LATE_MAX: Duration = Duration::from_secs(1);
/// From SIGCONT to the kernel's next answer.
const BACK_WITHIN: Duration = Duration::from_secs(1);
/// How long it is looked at that the kernel stays silent.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// How long it is asked before it is killed.
const LOADED_FOR: Duration = Duration::from_millis(500);
/// Between two queries.
const PAUSE: Duration = Duration::from_millis(2);

pub fn tests() -> Vec<Test> {
    let mut tests = with_each_hook("lease::stopped", stopped);
    tests.extend(with_each_hook("lease::hung", hung));
    tests.extend(with_each_hook("lease::killed", killed));
    tests.extend(with_each_hook("lease::kept", kept));
    tests
}

/// A pod that asks without waiting, and believes no answer.
struct Pod {
    socket: UdpSocket,
    query: Query,
    expected: &'static str,
    asked: u16,
    answers: u64,
}

impl Pod {
    fn new(setup: &Setup) -> Result<Self> {
        let server = dns(DNS_V4);
        let socket = setup.network.pod.udp(any(server))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            query: Query::new("checkout.shop.svc.cluster.local", rtype::A),
            expected: "NOERROR 10.96.20.20",
            asked: 0,
            answers: 0,
        })
    }

    /// One more query, and all answers that have come: each must be right.
    fn step(&mut self) -> Result<()> {
        self.asked = self.asked.wrapping_add(1);
        let query = self.query.clone().id(self.asked).bytes();
        // Where nobody listens any more, an ICMP error of an earlier query shows up here.
        if let Err(error) = self.socket.send(&query) {
            ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
        }
        let mut bytes = [0; 1500];
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(length) => {
                    let found = summary(&bytes[..length])?;
                    ensure!(found == self.expected, "a wrong answer: {found}");
                    self.answers += 1;
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        thread::sleep(PAUSE);
        Ok(())
    }
}

/// The programs' counters, read past the daemon: one that is stopped tells nothing.
struct Counters(kernel::Counters);

impl Counters {
    fn of(setup: &Setup) -> Result<Self> {
        let on_device = attached(&setup.network.node, NODE_DEVICE)?;
        let program = loaded_programs()
            .flatten()
            .find(|program| on_device.contains(&program.id()))
            .context("nothing is attached")?;
        for id in program.map_ids()?.unwrap_or_default() {
            let data = MapData::from_id(id)?;
            if data.info()?.name_as_str() == Some("COUNTERS") {
                return Ok(Self(kernel::Counters::of_map(Map::PerCpuArray(data))?));
            }
        }
        anyhow::bail!("the program has no counters")
    }

    fn of_reason(&self, reason: Reason) -> Result<u64> {
        let counts = self.0.read()?.by_reason();
        let found = counts.iter().find(|(counted, _)| *counted == reason);
        Ok(found.map_or(0, |(_, count)| *count))
    }
}

/// Sends the daemon a signal.
pub fn signal(setup: &Setup, signal: libc::c_int) -> Result<()> {
    let pid = libc::pid_t::try_from(setup.daemon.child.id())?;
    // SAFETY: kill() touches no memory of ours, and the child is not reaped yet.
    ensure!(unsafe { libc::kill(pid, signal) } == 0, "no such process");
    Ok(())
}

/// Asks until the counter moves; how long that took.
fn until_counted(
    pod: &mut Pod,
    counters: &Counters,
    reason: Reason,
    patience: Duration,
) -> Result<Duration> {
    let before = counters.of_reason(reason)?;
    let started = Instant::now();
    loop {
        pod.step()?;
        let elapsed = started.elapsed();
        if counters.of_reason(reason)? > before {
            return Ok(elapsed);
        }
        ensure!(
            elapsed < patience,
            "no packet was counted as {reason:?} for {elapsed:?}"
        );
    }
}

fn stopped(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let counters = Counters::of(&setup)?;
    let mut pod = Pod::new(&setup)?;
    until_counted(&mut pod, &counters, Reason::Answered, LATE_MAX)?;

    signal(&setup, libc::SIGSTOP)?;
    let silent = until_counted(&mut pod, &counters, Reason::Lease, LEASE_DEFAULT + LATE_MAX)
        .context("after SIGSTOP")?;
    // What was on its way has come.
    thread::sleep(PAUSE);
    pod.step()?;
    let (answers, answered, passed) = (
        pod.answers,
        counters.of_reason(Reason::Answered)?,
        counters.of_reason(Reason::Lease)?,
    );
    let started = Instant::now();
    while started.elapsed() < SILENT_FOR {
        pod.step()?;
    }
    ensure!(
        pod.answers == answers && counters.of_reason(Reason::Answered)? == answered,
        "the kernel answers without a lease"
    );
    let passed = counters.of_reason(Reason::Lease)? - passed;
    ensure!(passed > 0, "nothing was passed");

    signal(&setup, libc::SIGCONT)?;
    let back = until_counted(&mut pod, &counters, Reason::Answered, BACK_WITHIN)
        .context("after SIGCONT")?;
    println!(
        "{hook}: silent {} ms after SIGSTOP, {passed} packets passed in the next second and none \
         answered; the kernel answers {} ms after SIGCONT; {} answers, none of them wrong",
        silent.as_millis(),
        back.as_millis(),
        pod.answers
    );
    // A lease is renewed early: one that was about to end at the signal was not.
    ensure!(
        silent > LEASE_DEFAULT / 3,
        "the lease ended {silent:?} after SIGSTOP"
    );
    Ok(())
}

/// A thread of the daemon that a debugger has stopped, until this is dropped.
struct Stopped(libc::pid_t);

impl Stopped {
    fn new(setup: &Setup, name: &str) -> Result<Self> {
        let tasks = format!("/proc/{}/task", setup.daemon.child.id());
        for task in fs::read_dir(tasks)? {
            let task = task?;
            if fs::read_to_string(task.path().join("comm"))?.trim() == name {
                let id = task.file_name();
                return Self::attach(id.to_str().context("a number")?.parse()?);
            }
        }
        anyhow::bail!("there is no thread {name}")
    }

    fn attach(id: libc::pid_t) -> Result<Self> {
        let (address, data) = (
            ptr::null_mut::<libc::c_void>(),
            ptr::null_mut::<libc::c_void>(),
        );
        let failed = || std::io::Error::last_os_error();
        // SAFETY: these requests use no memory of ours.
        let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, id, address, data) };
        ensure!(seized == 0, "PTRACE_SEIZE: {}", failed());
        let stopped = Self(id);
        // SAFETY: as above.
        let interrupted = unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, id, address, data) };
        ensure!(interrupted == 0, "PTRACE_INTERRUPT: {}", failed());
        // SAFETY: no status is asked for.
        let waited = unsafe { libc::waitpid(id, ptr::null_mut(), libc::__WALL) };
        ensure!(waited == id, "waitpid: {}", failed());
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let (address, data) = (
            ptr::null_mut::<libc::c_void>(),
            ptr::null_mut::<libc::c_void>(),
        );
        // SAFETY: uses no memory of ours. The thread runs on.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, address, data) };
    }
}

/// Applying hangs, and all else of the daemon goes on: the socket answers what the kernel passes.
fn hung(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let counters = Counters::of(&setup)?;
    let mut pod = Pod::new(&setup)?;
    until_counted(&mut pod, &counters, Reason::Answered, LATE_MAX)?;

    let thread = Stopped::new(&setup, "apply")?;
    let limit = LEASE_DEFAULT + LATE_MAX;
    let passed = until_counted(&mut pod, &counters, Reason::Lease, limit)?;
    let answered = counters.of_reason(Reason::Answered)?;
    let (asked, answers) = (pod.asked, pod.answers);
    let started = Instant::now();
    while started.elapsed() < SILENT_FOR {
        pod.step()?;
    }
    ensure!(
        counters.of_reason(Reason::Answered)? == answered,
        "the kernel answers without a lease"
    );
    // The last queries' answers may still be on their way.
    thread::sleep(PAUSE * 10);
    pod.step()?;
    let (asked, answers) = (u64::from(pod.asked - asked), pod.answers - answers);
    ensure!(
        answers + 1 >= asked,
        "{asked} queries, {answers} answers of the socket"
    );
    drop(thread);
    let back = until_counted(&mut pod, &counters, Reason::Answered, BACK_WITHIN)?;
    println!(
        "{hook}: passed {} ms after the thread hung; then {asked} queries, {answers} answers of the \
         socket; the kernel answers {} ms after it went on",
        passed.as_millis(),
        back.as_millis(),
    );
    Ok(())
}

fn killed(hook: &'static str) -> Result<()> {
    let mut setup = Setup::new(hook)?;
    let counters = Counters::of(&setup)?;
    let ours = Loaded::of(&setup.daemon.programs()?)?;
    let mut pod = Pod::new(&setup)?;
    let started = Instant::now();
    while started.elapsed() < LOADED_FOR {
        pod.step()?;
    }
    ensure!(counters.of_reason(Reason::Answered)? > 0, "not attached");
    drop(counters); // or the map would stay

    signal(&setup, libc::SIGKILL)?;
    let killed = Instant::now();
    while !attached(&setup.network.node, NODE_DEVICE)?.is_empty() {
        pod.step()?;
        ensure!(killed.elapsed() < LATE_MAX, "still attached");
    }
    let gone = killed.elapsed();
    pod.step()?;
    let answers = pod.answers;
    let started = Instant::now();
    while started.elapsed() < SILENT_FOR {
        pod.step()?;
    }
    ensure!(pod.answers == answers, "somebody answers");
    ensure!(ended(setup.daemon.wait()?) == "signal 9");
    ours.is_gone()?;
    println!(
        "{hook}: the programs are gone {} ms after SIGKILL; {answers} answers, none of them wrong",
        gone.as_millis()
    );
    Ok(())
}

/// While the daemon runs the lease never ends, with nothing to apply for longer than a lease.
fn kept(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let counters = Counters::of(&setup)?;
    let mut pod = Pod::new(&setup)?;
    let started = Instant::now();
    while started.elapsed() < LEASE_DEFAULT * 2 {
        pod.step()?;
    }
    let passed = counters.of_reason(Reason::Lease)?;
    ensure!(passed == 0, "{passed} packets were passed");
    ensure!(pod.answers > 0, "nothing was answered");
    Ok(())
}
