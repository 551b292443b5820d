//! Where a node waits that cannot start because its disk is full: with an open door, behind which
//! there is nothing but the reason.

use std::ops::ControlFlow;
use std::sync::Arc;

use nacolet_api::{Facts, NodeStatus, Port, Server, Stage, listen};
use nacolet_model::{NodeId, limits};
use nacolet_registry::{Life, RegistrySettings};
use nacolet_storage::free_bytes;
use smol::{LocalExecutor, future};

use crate::doors::claim;
use crate::error::RunError;
use crate::machine::Shared;
use crate::settings::Settings;
use crate::{clock, signals};

/// Looks until it says again what it waits for.
const LOOKS_PER_LINE: u32 = 20;

/// What `open` opens, once there is space for its files; none when the process is asked to stop
/// before that.
///
/// # Errors
/// Whatever else keeps it from being opened.
pub(crate) fn pass<T>(
    settings: &Settings,
    open: impl Fn(&Settings) -> Result<T, RunError>,
) -> Result<Option<T>, RunError> {
    loop {
        match open(settings) {
            Err(why) if why.is_for_want_of_space(&settings.data_dir) => {
                if wait(settings, &why)?.is_break() {
                    return Ok(None);
                }
            }
            outcome => return outcome.map(Some),
        }
    }
}

/// Answers probes until there is space, or until the process is asked to stop.
///
/// # Errors
/// The address cannot be served.
fn wait(settings: &Settings, why: &RunError) -> Result<ControlFlow<()>, RunError> {
    let address = claim(settings.http_addr)?.address;
    let wanted = limits::RESERVE_BYTES as u64 + limits::DISK_FREE_BYTES_MIN;
    let words = format!("{} MiB of free disk space: {why}", wanted >> 20);
    let told = || tracing::error!(data = %settings.data_dir.display(), "waiting for {words}");
    let stage = Arc::new(Stage::default());
    stage.wait_for(words.clone());
    let server =
        Server::new(Arc::new(nowhere(settings, address, stage)), nacolet_api::Settings::default());
    let listener = listen(address).map_err(|source| RunError::Listen { address, source })?;
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let door = executor.spawn(server.clone().serve_http(listener));
        let has_space = async {
            let mut looks = 0;
            while free_bytes(&settings.data_dir) < wanted {
                if looks % LOOKS_PER_LINE == 0 {
                    told();
                }
                looks += 1;
                smol::Timer::after(limits::LEADER_LOOK_EVERY).await;
            }
            ControlFlow::Continue(())
        };
        let stopped = async {
            signals::stop_requested().await;
            ControlFlow::Break(())
        };
        let outcome = future::or(has_space, stopped).await;
        server.stop();
        door.await.map_err(|source| RunError::Listen { address, source })?;
        Ok(outcome)
    }))
}

/// A node without anything.
fn nowhere(settings: &Settings, http: std::net::SocketAddr, stage: Arc<Stage>) -> Port {
    let Shared { configs, registry, users } = Shared::new(RegistrySettings::default());
    let (requests, _) = async_channel::bounded(1);
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION"),
        node: NodeId(0),
        life: Life(1),
        host: http.ip().to_string().into(),
        http,
        grpc: None,
        peer: None,
        started: clock::wall(),
    };
    Port {
        configs,
        registry,
        users,
        auth: settings.auth.is_some(),
        requests,
        clock: clock::both,
        facts: Arc::new(facts),
        stage,
        moves: Arc::default(),
        status: Arc::new(NodeStatus::default),
    }
}
