//! A cluster's own folder: data, keys and logs, removed at the end, swept by later starts if the end was kill -9.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{ClusterError, Component};
use crate::lab::target_folder;

const PREFIX: &str = "burstlet-lab-";
const LOCK: &str = "lock";
/// How many clusters' logs are kept before the oldest go.
const KEPT_LOGS: usize = 20;
const TAIL_LINES: usize = 25;

/// The folder of one running cluster. Readable by its owner only: it holds keys.
#[derive(Debug)]
pub(super) struct Folder {
    folder: TempDir,
    // Held while the cluster lives: how others know that the folder is in use.
    _lock: File,
}

impl Folder {
    /// Makes a folder under the system's temporary folder, after removing those of clusters that are gone.
    pub(super) fn create() -> Result<Self, ClusterError> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            // It holds private keys; the umask alone may leave it open to all.
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(ClusterError::file("create a folder in", &parent))?;
        let lock = lock(folder.path())?;
        for sub in ["logs", "pki", "config", "etcd"] {
            let path = folder.path().join(sub);
            fs::create_dir(&path).map_err(ClusterError::file("create", path))?;
        }
        Ok(Self { folder, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn log(&self, component: Component) -> PathBuf {
        self.path().join("logs").join(format!("{component}.log"))
    }

    /// Writes a configuration file and returns its path.
    pub(super) fn write_config(&self, name: &str, text: &str) -> Result<PathBuf, ClusterError> {
        let path = self.path().join("config").join(name);
        fs::write(&path, text).map_err(ClusterError::file("write", &path))?;
        Ok(path)
    }

    /// The last lines of a component's log, for an error message.
    pub(super) fn tail(&self, component: Component) -> String {
        tail(&fs::read_to_string(self.log(component)).unwrap_or_default())
    }

    /// Copies the logs to where they outlive the cluster, and returns that folder.
    pub(super) fn keep_logs(&self) -> Result<PathBuf, ClusterError> {
        let all = target_folder().join("lab-logs");
        let kept = all.join(self.path().file_name().unwrap_or_default());
        fs::create_dir_all(&kept).map_err(ClusterError::file("create", &kept))?;
        for component in Component::ALL.into_iter().filter(|component| self.log(*component).exists()) {
            let from = self.log(component);
            let to = kept.join(from.file_name().unwrap_or_default());
            fs::copy(&from, &to).map_err(ClusterError::file("copy the log to", to))?;
        }
        prune(&all, KEPT_LOGS);
        Ok(kept)
    }

    /// Removes the folder, and says so if that fails; dropping it removes it in silence.
    pub(super) fn remove(self) -> Result<(), ClusterError> {
        let path = self.path().to_owned();
        self.folder.close().map_err(ClusterError::file("remove", path))
    }
}

/// Locks before the lock has its name, so that no sweep sees it free.
fn lock(folder: &Path) -> Result<File, ClusterError> {
    let (unnamed, path) = (folder.join("lock.new"), folder.join(LOCK));
    let lock = File::create(&unnamed).map_err(ClusterError::file("create", &unnamed))?;
    lock.lock().map_err(ClusterError::file("lock", &unnamed))?;
    fs::rename(&unnamed, &path).map_err(ClusterError::file("rename", unnamed))?;
    Ok(lock)
}

/// Removes the folders whose clusters are gone: the kernel gave their locks back. What cannot be read or removed, such as
/// another user's folder, is left alone.
fn sweep(parent: &Path) {
    for path in folders(parent).into_iter().filter(|path| is_lab_folder(path)) {
        if File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Removes the oldest kept logs beyond `keep`.
fn prune(all: &Path, keep: usize) {
    let mut kept: Vec<_> = folders(all)
        .into_iter()
        .filter(|path| is_lab_folder(path))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .collect();
    kept.sort();
    let surplus = kept.len().saturating_sub(keep);
    for (_, path) in kept.into_iter().take(surplus) {
        let _ = fs::remove_dir_all(path);
    }
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn is_lab_folder(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_removes_what_the_dead_left_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (dead, alive) = (make("burstlet-lab-dead"), make("burstlet-lab-alive"));
        let (unlocked_yet, other) = (make("burstlet-lab-starting"), make("somebody-else"));
        drop(lock(&dead).unwrap());
        drop(lock(&other).unwrap());
        let _held = lock(&alive).unwrap();

        sweep(parent.path());

        assert!(!dead.exists());
        assert!(alive.exists() && unlocked_yet.exists() && other.exists());
    }

    #[test]
    fn only_the_last_logs_are_kept() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["burstlet-lab-a", "burstlet-lab-b", "burstlet-lab-c"] {
            fs::create_dir(parent.path().join(name)).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        prune(parent.path(), 2);
        let mut left: Vec<_> = folders(parent.path()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        left.sort();
        assert_eq!(left, ["burstlet-lab-b", "burstlet-lab-c"]);
    }

    #[test]
    fn a_tail_is_the_end_of_a_log() {
        let log = (0..100).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
        let tail = tail(&log);
        assert!(tail.starts_with("line 75\n") && tail.ends_with("line 99"), "{tail}");
        assert_eq!(super::tail(""), "");
    }

    #[test]
    fn a_folder_is_private_and_gone_when_removed() {
        let folder = Folder::create().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        folder.remove().unwrap();
        assert!(!path.exists());
    }
}
