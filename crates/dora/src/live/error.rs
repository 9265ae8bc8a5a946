//! Why live values could not be shown.

use std::net::SocketAddr;

use dorainfra_pki::FilesError;
use dorainfra_prometheus::TargetError;
use dorainfra_prometheus::pushgateway::GatewayError;
use dorainfra_prometheus::remote_write::WriteError;

#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error("live values were not taken: {0}")]
    Write(#[from] WriteError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("nothing can listen at {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the server of live values ended: {0}")]
    Serve(std::io::Error),
}

impl LiveError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Gateway(error) => error.hint(),
            Self::Write(error) => error.hint(),
            Self::Target(error) => error.hint(),
            Self::Files(_) => Some("name a folder that holds ca.crt, client.crt and client.key".into()),
            Self::Listen { .. } => {
                Some("give `--listen` an address of this machine and a free port; 0 chooses one".into())
            }
            Self::Serve(_) => Some("start it again, on another port if it fails again".into()),
        }
    }

    /// Whether nobody answered: it may be back in a moment.
    pub(super) fn is_away(&self) -> bool {
        matches!(
            self,
            Self::Gateway(GatewayError::Unreachable { .. }) | Self::Write(WriteError::Unavailable { .. })
        )
    }
}
