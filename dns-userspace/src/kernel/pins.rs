//! What outlasts a daemon (`--pin`), how the next one takes it over, and how it is removed.
//!
//! ```text
//! DIR/                        on a bpffs
//!   net-4026531840/           the network namespace, by its inode; locked (flock) while something is changed below
//!     current ─▶ layout-4-…   whose the links are: a link of the file system, replaced by rename
//!     layout-4-5e1d20c7/      maps and programs of one daemon's table; locked as long as that lives
//!     links/tc-7              the link at the device of index 7
//! ```
//!
//! **A daemon never uses what another one has pinned, but for links.** It makes maps and programs of its own, fills them,
//! leases them, and sees them answer; then it makes `current` lead to itself, and puts its program into each link
//! (`BPF_LINK_UPDATE`). A packet meets the program that the link has at that moment, and a program has its own maps: so no
//! packet can meet two generations, whatever their layouts are, and wherever a daemon ends in between. What the
//! program before leads to goes with it, when nothing refers to it any more.
//!
//! **Whose the links are** is asked before each change of them, with the lock held. Who finds that they are another's lets go
//! of them, and goes on renewing its lease: those of its programs that are not replaced yet answer on.
//!
//! **After a SIGKILL** links, maps and programs stay, and pass everything when the lease is over. The next daemon
//! takes the links; removes directories whose lock nobody holds, which includes half-made ones; and links of devices
//! that are gone at once, those of devices that it does not attach to after [`LEFT_FOR`]. Links before they are pinned, and files that are
//! removed, are the kernel's to clean up.

mod error;
mod generation;
mod link;
mod place;
mod remove;

use std::time::Duration;

pub use error::PinError;
pub(super) use generation::Generation;
pub(super) use link::{Pin, kept, remove_others};
pub(super) use place::Place;
pub use remove::{Removed, detach, unpin};

/// Where `hopzero detach` looks, and the chart pins.
pub const DIRECTORY_DEFAULT: &str = "/sys/fs/bpf/hopzero";

/// How long a link is left for its device to be found by the next daemon.
pub(super) const LEFT_FOR: Duration = Duration::from_secs(10);
