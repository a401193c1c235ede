//! What the daemon may no longer do once it has started: it gives up every capability that it does not need, and every
//! system call that it does not make.
//!
//! Both hold for a thread and for what that starts, so they come before the first thread, and nothing brings them back: the
//! capabilities leave the bounding set too, and `no_new_privs` is set. `docs/security.md` is for who runs the daemon.

pub mod capabilities;
pub mod syscalls;

use capabilities::Needs;

/// Gives up what is not needed. To be called before any thread is made.
///
/// # Errors
/// A capability cannot be given up.
pub fn enter(needs: Needs) -> Result<(), caps::errors::CapsError> {
    capabilities::keep_only(needs)?;
    // Not every kernel has seccomp, and sandboxes of containers (gVisor) may not. The capabilities are gone all the same.
    if let Err(error) = syscalls::forbid_others() {
        tracing::warn!("system calls are not restricted: {error}");
    }
    Ok(())
}
