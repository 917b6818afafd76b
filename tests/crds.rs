//! Holds the definitions under `helm/burstlet/crds/` to the types that read the objects.

#![allow(clippy::unwrap_used, reason = "a test may fail by it, its helpers too")]

use std::path::Path;

use burstlet::api::crd::definitions;
use serde_json::Value;

/// To make the files anew after a change on purpose: `burstlet crd` prints both, one document a file.
#[test]
fn the_files_in_the_chart_are_what_the_code_defines() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/burstlet/crds");
    for (file, definition) in definitions().unwrap() {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let written: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(
            written,
            serde_json::to_value(&definition).unwrap(),
            "{file}; `burstlet crd` prints what it should be"
        );
    }
}
