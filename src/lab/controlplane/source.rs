//! The Go module's sources: their digest, and the versions that its module file asks for: `go.mod`, or
//! `kubernetes-MINOR.mod` beside it, which builds the same sources on an older Kubernetes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::ControlPlaneError;
use super::toolchain::GoVersion;

/// The Go module that is built.
#[derive(Debug)]
pub(super) struct Source {
    folder: PathBuf,
    /// The module file's name.
    module: String,
    /// File name → contents of the module file, its sums, and every `.go` file.
    files: BTreeMap<String, Vec<u8>>,
}

impl Source {
    /// Reads the module in `folder`, on the minor of Kubernetes that is asked for.
    pub(super) fn read(folder: &Path, minor: Option<&str>) -> Result<Self, ControlPlaneError> {
        let name = minor.map_or_else(|| "go".to_owned(), |minor| format!("kubernetes-{minor}"));
        let (module, sums) = (format!("{name}.mod"), format!("{name}.sum"));
        if let Some(minor) = minor.filter(|_| !folder.join(&module).is_file()) {
            return Err(ControlPlaneError::UnknownMinor { minor: minor.to_owned(), folder: folder.to_owned() });
        }
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(ControlPlaneError::file("read the folder", folder))? {
            let entry = entry.map_err(ControlPlaneError::file("read the folder", folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == module || name == sums || Path::new(&name).extension().is_some_and(|end| end == "go") {
                let contents = fs::read(entry.path()).map_err(ControlPlaneError::file("read", entry.path()))?;
                files.insert(name, contents);
            }
        }
        Ok(Self { folder: folder.to_owned(), module, files })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The module file's name.
    pub(super) fn module(&self) -> &str {
        &self.module
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

    /// The oldest Go that builds the module: the module file's `go` line.
    pub(super) fn go_version(&self) -> Result<GoVersion, ControlPlaneError> {
        self.directive("go").and_then(GoVersion::parse).ok_or_else(|| self.problem("has no readable `go` line"))
    }

    /// Kubernetes' own version, such as `v1.36.3`.
    pub(super) fn kubernetes_version(&self) -> Result<&str, ControlPlaneError> {
        self.directive("k8s.io/kubernetes").ok_or_else(|| self.problem("does not require k8s.io/kubernetes"))
    }

    /// The word after `key` on its own line of the module file.
    fn directive(&self, key: &str) -> Option<&str> {
        let text = std::str::from_utf8(self.files.get(&self.module)?).ok()?;
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(key)).then(|| words.next())?
        })
    }

    fn problem(&self, problem: &'static str) -> ControlPlaneError {
        ControlPlaneError::Source { path: self.folder.join(&self.module), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(files: &[(&str, &str)]) -> Source {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        Source { folder: PathBuf::from("controlplane"), module: "go.mod".to_owned(), files }
    }

    #[test]
    fn an_older_minor_is_the_same_sources_on_other_modules() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane");
        let (newest, older) = (Source::read(&folder, None).unwrap(), Source::read(&folder, Some("1.35")).unwrap());
        assert!(older.kubernetes_version().unwrap().starts_with("v1.35."), "{:?}", older.kubernetes_version());
        assert_ne!(newest.digest(), older.digest());
        let of_go = |source: &Source| {
            let module = source.module().trim_end_matches("mod");
            let names = source.files.keys().filter(|name| !name.starts_with(module));
            names.cloned().collect::<Vec<_>>()
        };
        assert_eq!(of_go(&newest), of_go(&older));
        assert_eq!(newest.go_version().unwrap(), older.go_version().unwrap());
        let told = Source::read(&folder, Some("1.2")).unwrap_err().to_string();
        assert!(told.contains("BURSTLET_KUBERNETES") && told.contains("kubernetes-1.2.mod"), "{told}");
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
        let source = Source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane"), None).unwrap();
        assert!(source.kubernetes_version().unwrap().starts_with("v1."));
        assert!(source.go_version().is_ok());
    }
}
