//! What both ends ask of their sockets: no delay, a send timeout in the kernel, probes for a peer
//! that vanished while nothing was said; and writing with a deadline.

use std::io;
use std::time::Duration;

use nacolet_model::limits;
use smol::future;
use smol::io::{AsyncWrite, AsyncWriteExt};
use smol::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};

/// A peer that vanished while nothing was said is noticed after some forty seconds.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Prepares a connection of either direction.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY),
    )?;
    // Without it a peer that lost its power is sent to again at growing distances, up to minutes
    // apart, although it came back long ago.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(limits::PEER_STALL_TIMEOUT))?;
    Ok(())
}

/// Writes everything, or fails when the peer takes none of it for `stall`.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(
    stream: &mut W,
    mut bytes: &[u8],
    stall: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let expired = async {
            smol::Timer::after(stall).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        let written = future::or(stream.write(bytes), expired).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Limits a future to `time`.
pub(crate) async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    future::or(async { Some(work.await) }, async {
        smol::Timer::after(time).await;
        None
    })
    .await
}
