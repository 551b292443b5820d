//! Where in a node a verb does what it does.

use clap::Args;

use super::client::Client;
use super::error::CliError;
use super::login::ServerArgs;

/// Which node to talk to, and where in it.
#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Namespace id; the default namespace when left out
    #[arg(long, short, env = "NACOLET_NAMESPACE", default_value = "", value_name = "ID")]
    pub(crate) namespace: String,
    /// Group
    #[arg(long, short, default_value = "DEFAULT_GROUP", value_name = "NAME")]
    pub(crate) group: String,
}

impl TargetArgs {
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        self.server.client()
    }
}
