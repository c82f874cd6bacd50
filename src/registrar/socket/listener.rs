//! The socket's file: made for two users only, and never taken from a controller that is alive.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
};

use tokio::net::{UnixListener, UnixStream};

/// For the owner and the group that the front end is in.
const FILE_MODE: u32 = 0o660;
const DIRECTORY_MODE: u32 = 0o750;
const OTHERS_MAY_WRITE: u32 = 0o002;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something with files failed.
    #[error("cannot {what} {path} ({source})", path = path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Anybody could replace the socket.
    #[error(
        "everybody may write into {path}, and so put another socket in the place of ours: use a directory of its own \
         (it is made if it does not exist)",
        path = .0.display()
    )]
    OpenDirectory(PathBuf),
    /// The place is taken.
    #[error("another controller listens on {path}: stop it, or choose another path", path = .0.display())]
    InUse(PathBuf),
    /// The place is taken by something else.
    #[error("{path} exists and is no socket: remove it, or choose another path", path = .0.display())]
    NotASocket(PathBuf),
}

/// Listens on `path`. Its directory is made if need be (mode 0750); a socket that a dead controller left is replaced.
///
/// # Errors
/// If that cannot be done, or is not safe.
pub async fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| SocketError::File { what, path, source }
    };
    let directory = match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    if !directory.exists() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(DIRECTORY_MODE);
        builder
            .create(directory)
            .map_err(failed("make", directory))?;
        // Whatever the umask says: the front end must get in.
        let mode = fs::Permissions::from_mode(DIRECTORY_MODE);
        fs::set_permissions(directory, mode).map_err(failed("restrict", directory))?;
    }
    let facts = fs::metadata(directory).map_err(failed("look at", directory))?;
    if facts.permissions().mode() & OTHERS_MAY_WRITE != 0 {
        return Err(SocketError::OpenDirectory(directory.into()));
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.into()));
        }
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            _ => return Err(SocketError::InUse(path.into())),
        },
        Err(_) => {}
    }
    // Under another name until its mode is right, then in its place at once.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", process::id()));
    let fresh = directory.join(name);
    let _ = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).map_err(failed("listen on", &fresh))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(FILE_MODE))
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(failed("put in place", path))?;
    Ok(listener)
}

/// The user of this process.
///
/// # Errors
/// If the system makes no socket to ask it with.
pub fn own_uid() -> io::Result<u32> {
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn directory_and_socket_are_for_owner_and_group_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registrar/socket");
        let _listener = bind(&path).await.unwrap();
        assert_eq!(mode(path.parent().unwrap()), DIRECTORY_MODE);
        assert_eq!(mode(&path), FILE_MODE);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let first = bind(&path).await.unwrap();
        assert!(matches!(bind(&path).await, Err(SocketError::InUse(_))));
        drop(first);
        let _second = bind(&path).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn other_files_and_open_directories_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path).await, Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"mine");

        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let error = bind(&dir.path().join("other")).await.unwrap_err();
        assert!(matches!(error, SocketError::OpenDirectory(_)), "{error}");
    }
}
