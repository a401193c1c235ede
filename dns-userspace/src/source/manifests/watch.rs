//! File events, gathered until a file is whole.
//!
//! Whoever writes a file makes several events of it: a truncation, a few writes, the closing; or a
//! second file and a renaming. Reading too early would see half a file, which may parse, and take
//! the other half's services away for a moment.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// How long nothing must happen before a group of events is complete.
const QUIET_MS: u64 = 20;

/// How long a group may go on when something always happens.
const GROUP_MS_MAX: u64 = 60;

/// How long a file may stay open after a write before it is read nevertheless.
const OPEN_MS_MAX: u64 = 1000;

/// A watch of a directory and all below it.
pub struct Watch {
    /// Keeps the watch; dropping it ends it.
    _watcher: RecommendedWatcher,
    events: mpsc::UnboundedReceiver<notify::Result<Event>>,
    /// Files that were written to and not closed since.
    open: BTreeSet<PathBuf>,
}

/// What happened in a short time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Where.
    pub paths: BTreeSet<PathBuf>,
    /// Events were lost, or none came for long: anything may have happened.
    pub lost: bool,
}

impl Watch {
    /// Watches from now on.
    pub fn new(directory: &Path) -> notify::Result<Self> {
        let (sender, events) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event| {
            // The receiver goes first when the daemon stops.
            let _ = sender.send(event);
        })?;
        watcher.watch(directory, RecursiveMode::Recursive)?;
        Ok(Self {
            _watcher: watcher,
            events,
            open: BTreeSet::new(),
        })
    }

    /// Waits for the next group of events; when there is none for `idle`, the group is one in
    /// which anything may have happened. So no look at the files falls into the middle of a group.
    pub async fn next(&mut self, idle: Duration) -> Group {
        let mut group = Group::default();
        let idle = Instant::now() + idle;
        while group.paths.is_empty() && !group.lost {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => self.take(event, &mut group),
                () = sleep_until(idle) => group.lost = true,
            }
        }
        let begin = Instant::now();
        loop {
            let waits_for_close = group.paths.iter().any(|path| self.open.contains(path));
            let longest = if waits_for_close {
                OPEN_MS_MAX
            } else {
                GROUP_MS_MAX
            };
            let longest = begin + Duration::from_millis(longest);
            let quiet = if waits_for_close {
                longest
            } else {
                longest.min(Instant::now() + Duration::from_millis(QUIET_MS))
            };
            tokio::select! {
                biased;
                () = sleep_until(longest) => break,
                event = self.events.recv() => match event {
                    Some(event) => self.take(event, &mut group),
                    None => break,
                },
                () = sleep_until(quiet) => break,
            }
        }
        for path in &group.paths {
            self.open.remove(path);
        }
        group
    }

    fn take(&mut self, event: notify::Result<Event>, group: &mut Group) {
        let Ok(event) = event else {
            group.lost = true;
            return;
        };
        group.lost |= event.need_rescan();
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => self.open.extend(event.paths.iter().cloned()),
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => {
                for path in &event.paths {
                    self.open.remove(path);
                }
            }
            // Being read changes nothing; our own reading would never end.
            EventKind::Access(_) => return,
            _ => {}
        }
        group.paths.extend(event.paths);
    }
}
