//! The Go module's sources: their digest, and the versions that `go.mod` asks for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::ControlPlaneError;
use super::toolchain::GoVersion;

/// The Go module that is built.
#[derive(Debug)]
pub(super) struct Source {
    folder: PathBuf,
    /// File name → contents of `go.mod`, `go.sum` and every `.go` file.
    files: BTreeMap<String, Vec<u8>>,
}

impl Source {
    /// Reads the module in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self, ControlPlaneError> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(ControlPlaneError::file("read the folder", folder))? {
            let entry = entry.map_err(ControlPlaneError::file("read the folder", folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "go.mod" || name == "go.sum" || Path::new(&name).extension().is_some_and(|end| end == "go") {
                let contents = fs::read(entry.path()).map_err(ControlPlaneError::file("read", entry.path()))?;
                files.insert(name, contents);
            }
        }
        Ok(Self { folder: folder.to_owned(), files })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells one state of the sources from another: 64-bit FNV-1a, as 16 hexadecimal digits. Nobody attacks this digest;
    /// it names a build folder.
    pub(super) fn digest(&self) -> String {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let framed = self.files.iter().flat_map(|(name, contents)| {
            let lengths = [name.len().to_le_bytes(), contents.len().to_le_bytes()].concat();
            lengths.into_iter().chain(name.bytes()).chain(contents.iter().copied())
        });
        let hash = framed.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        format!("{hash:016x}")
    }

    /// The oldest Go that builds the module: the `go` line of `go.mod`.
    pub(super) fn go_version(&self) -> Result<GoVersion, ControlPlaneError> {
        self.directive("go").and_then(GoVersion::parse).ok_or_else(|| self.problem("has no readable `go` line"))
    }

    /// Kubernetes' own version, such as `v1.36.3`.
    pub(super) fn kubernetes_version(&self) -> Result<&str, ControlPlaneError> {
        self.directive("k8s.io/kubernetes").ok_or_else(|| self.problem("does not require k8s.io/kubernetes"))
    }

    /// The word after `key` on its own line of `go.mod`.
    fn directive(&self, key: &str) -> Option<&str> {
        let text = std::str::from_utf8(self.files.get("go.mod")?).ok()?;
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(key)).then(|| words.next())?
        })
    }

    fn problem(&self, problem: &'static str) -> ControlPlaneError {
        ControlPlaneError::Source { path: self.folder.join("go.mod"), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(files: &[(&str, &str)]) -> Source {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        Source { folder: PathBuf::from("controlplane"), files }
    }

    #[test]
    fn the_digest_changes_with_any_byte_name_or_boundary() {
        let digests = [
            source(&[("a.go", "x"), ("b.go", "y")]),
            source(&[("a.go", "x"), ("b.go", "z")]),
            source(&[("a.go", "x"), ("c.go", "y")]),
            source(&[("a.go", "xb"), (".go", "y")]),
            source(&[("a.go", "x")]),
        ]
        .map(|source| source.digest());
        let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len(), "{digests:?}");
    }

    #[test]
    fn the_digest_is_the_same_on_every_machine() {
        assert_eq!(source(&[]).digest(), "cbf29ce484222325");
    }

    #[test]
    fn versions_come_from_go_mod() {
        let source = source(&[("go.mod", "module x\n\ngo 1.26.4\n\nrequire (\n\tk8s.io/kubernetes v1.36.3\n)\n")]);
        assert_eq!(source.go_version().unwrap().to_string(), "1.26.4");
        assert_eq!(source.kubernetes_version().unwrap(), "v1.36.3");
    }

    #[test]
    fn a_go_mod_without_versions_is_refused_by_its_path() {
        let error = source(&[("go.mod", "module x\n")]).kubernetes_version().unwrap_err().to_string();
        assert!(error.contains("controlplane/go.mod"), "{error}");
    }

    #[test]
    fn the_module_of_this_checkout_names_its_versions() {
        let source = Source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane")).unwrap();
        assert!(source.kubernetes_version().unwrap().starts_with("v1."));
        assert!(source.go_version().is_ok());
    }
}
