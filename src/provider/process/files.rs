//! Files of a volume, exchanged all at once: whoever reads them sees the old ones or the new ones, never some of each.
//!
//! As a kubelet lays volumes out, and as programs that watch them expect: `FILE` leads to `..data/FILE`, `..data` leads
//! to the folder of one writing, and a rename turns `..data` to the next one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
    path::{Component, Path},
};

use super::plan::below;
use crate::provider::File;

/// Leads to what is valid now.
const DATA: &str = "..data";

/// Makes `folder` hold `files` and nothing else; does nothing where it does already.
pub(super) fn put(folder: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    let before = fs::read_link(folder.join(DATA)).ok();
    if before.is_some() && is_same(&folder.join(DATA), files)? {
        return Ok(());
    }
    let number = before.as_ref().and_then(|name| name.to_str()?.strip_prefix("..")?.parse::<u64>().ok()).unwrap_or(0);
    let name = format!("..{}", number + 1);
    let next = folder.join(&name);
    if next.exists() {
        fs::remove_dir_all(&next)?;
    }
    fs::create_dir_all(&next)?;
    for (path, file) in files {
        write(&below(&next, path), file)?;
    }
    let turning = folder.join("..data_tmp");
    let _ = fs::remove_file(&turning);
    symlink(&name, &turning)?;
    fs::rename(&turning, folder.join(DATA))?;
    show(folder, files)?;
    match before {
        Some(before) => fs::remove_dir_all(folder.join(before)),
        None => Ok(()),
    }
}

fn write(path: &Path, file: &File) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    // Nobody else may read it before its permissions are set.
    let mut options = fs::OpenOptions::new();
    let mut open = options.write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut open, &file.data)?;
    fs::set_permissions(path, Permissions::from_mode(file.mode))
}

/// The first parts of all paths lead into what is valid; those that do not any more are taken away.
fn show(folder: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    let first = |path: &String| {
        Path::new(path).components().find_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        })
    };
    let wanted: BTreeSet<_> = files.keys().filter_map(first).collect();
    for name in &wanted {
        if fs::symlink_metadata(folder.join(name)).is_err() {
            symlink(Path::new(DATA).join(name), folder.join(name))?;
        }
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !wanted.contains(&name) && !name.as_encoded_bytes().starts_with(b"..") {
            fs::remove_file(folder.join(name))?;
        }
    }
    Ok(())
}

fn is_same(folder: &Path, files: &BTreeMap<String, File>) -> io::Result<bool> {
    let mut count = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { count += 1 }
        }
    }
    let is_there = |(path, file): (&String, &File)| {
        let path = below(folder, path);
        let mode = fs::metadata(&path).map(|meta| meta.permissions().mode() & 0o777);
        mode.is_ok_and(|mode| mode == file.mode) && fs::read(path).is_ok_and(|data| data == file.data)
    };
    Ok(count == files.len() && files.iter().all(is_there))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> BTreeMap<String, File> {
        list.iter()
            .map(|(path, text)| ((*path).to_owned(), File { data: text.as_bytes().to_vec(), mode: 0o440 }))
            .collect()
    }

    #[test]
    fn all_files_change_at_once_and_those_gone_are_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
        put(folder.path(), &files(&[("a", "1"), ("deep/b", "1"), ("gone", "x")])).unwrap();
        assert_eq!(read("deep/b").as_deref(), Some("1"));
        assert_eq!(fs::metadata(folder.path().join("a")).unwrap().permissions().mode() & 0o777, 0o440);
        let first = fs::read_link(folder.path().join(DATA)).unwrap();
        put(folder.path(), &files(&[("a", "1"), ("deep/b", "1"), ("gone", "x")])).unwrap();
        assert_eq!(fs::read_link(folder.path().join(DATA)).unwrap(), first, "nothing differs, so nothing is turned");
        put(folder.path(), &files(&[("a", "2"), ("deep/b", "2")])).unwrap();
        assert_eq!((read("a").as_deref(), read("deep/b").as_deref(), read("gone")), (Some("2"), Some("2"), None));
        assert!(!folder.path().join(first).exists(), "the old files are left");
        assert_eq!(fs::read_link(folder.path().join("a")).unwrap(), Path::new("..data/a"));
        put(folder.path(), &BTreeMap::new()).unwrap();
        assert_eq!(read("a"), None);
    }

    #[test]
    fn a_path_that_climbs_stays_below() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("v");
        fs::create_dir(&volume).unwrap();
        put(&volume, &files(&[("../../up", "1")])).unwrap();
        assert!(!folder.path().join("up").exists());
        assert_eq!(fs::read_to_string(volume.join("up")).unwrap(), "1");
    }
}
