//! The secret that all members of a cluster share, as it is read from its file.

use std::path::{Path, PathBuf};

use nacolet_transport::{ClusterKey, KeyTooShort};

/// Why there is no cluster key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot read the cluster key file {path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the cluster key file {path} is not right: {source}", path = path.display())]
    Short { path: PathBuf, source: KeyTooShort },
}

/// Reads the secret. White space at the end of a text is no part of it: editors add line feeds.
pub(crate) fn read_key(path: &Path) -> Result<ClusterKey, KeyError> {
    let bytes = std::fs::read(path)
        .map_err(|source| KeyError::Unreadable { path: path.to_owned(), source })?;
    let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    let key = if is_text { bytes.trim_ascii_end() } else { &bytes };
    ClusterKey::new(key).map_err(|source| KeyError::Short { path: path.to_owned(), source })
}
