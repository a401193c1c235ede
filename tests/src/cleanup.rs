//! What a test makes outside its process goes again: at the end of the test, when it panics, and when the
//! run is interrupted.

use std::{
    collections::BTreeMap,
    fs,
    mem::MaybeUninit,
    path::{Path, PathBuf},
    process, ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

type Work = Box<dyn FnOnce() + Send>;

static PENDING: Mutex<BTreeMap<u64, Work>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// How often the watching thread looks for a signal.
const LOOK: Duration = Duration::from_millis(50);
/// Added to the signal's number in the exit status, as shells do.
const EXIT_SIGNALLED: i32 = 128;

/// The beginning of every name outside this process.
const PREFIX: &str = "hz-test-";

/// A beginning for a name that tells which process it belongs to: `hz-test-4711-`.
pub fn prefix() -> String {
    format!("{PREFIX}{}-", process::id())
}

/// What in a directory has the name of a run that has been killed.
pub fn stale(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let pid = (name.strip_prefix(PREFIX))
                .and_then(|rest| rest.split_once('-'))
                .and_then(|(pid, _)| pid.parse::<u32>().ok());
            pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
        })
        .collect()
}

/// Work that is done when this value goes, or when the run is interrupted.
#[derive(Debug)]
pub struct Cleanup(u64);

impl Cleanup {
    /// Remembers `work`; it is done once.
    #[must_use]
    pub fn new(work: impl FnOnce() + Send + 'static) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        pending().insert(id, Box::new(work));
        Self(id)
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // The lock is not held during the work, which may take a while.
        let work = pending().remove(&self.0);
        if let Some(work) = work {
            work();
        }
    }
}

fn pending() -> MutexGuard<'static, BTreeMap<u64, Work>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn note(signal: libc::c_int) {
    SIGNAL.store(signal, Ordering::SeqCst);
}

/// From here on SIGINT, SIGTERM and SIGHUP clean up, the newest first, and then end the process.
pub fn install() {
    // SAFETY: all-zero is a valid sigaction (no flags, an empty mask).
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: `action` is initialised and outlives the call; the handler only stores to an
        // atomic, which is async-signal-safe.
        unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    }
    thread::spawn(|| {
        loop {
            thread::sleep(LOOK);
            let signal = SIGNAL.load(Ordering::SeqCst);
            if signal != 0 {
                eprintln!("interrupted: cleaning up");
                run_all();
                process::exit(EXIT_SIGNALLED + signal);
            }
        }
    });
}

fn run_all() {
    // Again and again: a test that still runs may make something more.
    loop {
        let newest = pending().pop_last();
        match newest {
            Some((_, work)) => work(),
            None => return,
        }
    }
}
