//! The log lines of programs, with `--trace`.

use std::time::Duration;

use aya::Ebpf;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

/// aya-log's number for "debug".
pub(super) const LOG_LEVEL_DEBUG: u8 = 4;
/// How often the programs' log lines are fetched.
const LOG_INTERVAL: Duration = Duration::from_millis(50);

/// Shows them from here on.
pub(super) fn start_logger(ebpf: &mut Ebpf) -> Option<AbortOnDropHandle<()>> {
    let mut logger = match aya_log::EbpfLogger::init(ebpf) {
        Ok(logger) => logger,
        Err(error) => {
            warn!(%error, "the programs' log lines are not shown");
            return None;
        }
    };
    Some(AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            logger.flush();
            tokio::time::sleep(LOG_INTERVAL).await;
        }
    })))
}
