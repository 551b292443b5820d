//! SIGTERM and SIGINT, the two ways to ask for an orderly stop.

use async_signal::{Signal, Signals};
use smol::stream::StreamExt;

/// Resolves when the process is asked to stop. Where signals cannot be watched it never does, and
/// the default action of the system applies.
pub(crate) async fn stop_requested() {
    match Signals::new([Signal::Term, Signal::Int]) {
        Ok(mut signals) => {
            signals.next().await;
        }
        Err(error) => {
            tracing::warn!(%error, "signals cannot be watched");
            smol::future::pending::<()>().await;
        }
    }
}
