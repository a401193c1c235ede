//! Waiting until every run of the programs that has begun has ended.
//!
//! Programs run inside an RCU read-side section, so what is waited for is a grace period. The system call that
//! gives one on purpose is the update of a slot of a map of maps: `maybe_wait_bpf_programs()` in kernel/bpf/syscall.c
//! calls `synchronize_rcu()` (since Linux 4.20), "so that userspace, when we return to it, knows that all programs
//! that could be running use the new map value". No program needs to look at that map.
//!
//! `membarrier(MEMBARRIER_CMD_GLOBAL)` is `synchronize_rcu()` as well, but only where `nohz_full` is off
//! (else EINVAL), and only while more than one CPU is online (else it returns at once, although a program
//! may have been preempted on a `PREEMPT_RT` kernel). Both cost the same.

//!
//! A grace period takes some 16 ms, in which there is better to do: a thread of its own waits.

use std::{
    io, mem,
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    thread,
};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, MapData},
};

use super::{KernelError, error::chain};

/// The map of maps, which is for this alone.
const MAP: &str = "GRACE";

type Inner = Array<MapData, u64>;
type Waited = io::Result<()>;

/// Gives grace periods.
pub(super) struct Grace {
    /// To the thread, which ends with it.
    asked: Sender<()>,
    waited: Receiver<Waited>,
    /// The one that has been asked for.
    pending: Pending,
}

enum Pending {
    None,
    Waiting,
    Waited(Waited),
}

impl Grace {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let map = (ebpf.take_map(MAP)).ok_or(KernelError::Object { what: MAP })?;
        let mut slot: ArrayOfMaps<MapData, Inner> = ArrayOfMaps::try_from(map)?;
        // What is put into the slot again and again.
        let value: Inner = Inner::create(1, 0)?;
        let ((asked, asks), (waits, waited)) = (channel(), channel());
        (thread::Builder::new().name("grace".to_owned()))
            .spawn(move || {
                for () in asks {
                    let result = slot.set(0, &value, 0);
                    if (waits.send(result.map_err(|error| io::Error::other(chain(&error)))))
                        .is_err()
                    {
                        return;
                    }
                }
            })
            .map_err(KernelError::Thread)?;
        Ok(Grace {
            asked,
            waited,
            pending: Pending::None,
        })
    }

    /// Returns when all runs that had begun have ended.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        self.begin();
        self.end()
    }

    /// Begins to wait for all runs that have begun.
    pub(super) fn begin(&mut self) {
        if matches!(self.pending, Pending::Waiting) {
            // It says nothing of runs that have begun since.
            let _ = self.waited.recv();
        }
        self.pending = match self.asked.send(()) {
            Ok(()) => Pending::Waiting,
            Err(_) => Pending::Waited(Err(gone())),
        };
    }

    /// Whether [`Self::end`] would return at once.
    pub(super) fn is_over(&mut self) -> bool {
        if matches!(self.pending, Pending::Waiting) {
            match self.waited.try_recv() {
                Ok(waited) => self.pending = Pending::Waited(waited),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.pending = Pending::Waited(Err(gone())),
            }
        }
        matches!(self.pending, Pending::Waited(_))
    }

    /// Returns when all runs that had begun before the last [`Self::begin`] have ended; or before this, if that has been
    /// answered already.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if matches!(self.pending, Pending::None) {
            self.begin();
        }
        match mem::replace(&mut self.pending, Pending::None) {
            Pending::Waited(waited) => waited,
            Pending::Waiting | Pending::None => self.waited.recv().unwrap_or_else(|_| Err(gone())),
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that waits for the programs has ended")
}
