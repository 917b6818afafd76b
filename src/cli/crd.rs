//! `burstlet crd`.

use std::io::Write;

use anyhow::Context;

use crate::api::crd::definitions;

pub(super) fn crd() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (_, definition) in definitions()? {
        let text = serde_saphyr::to_string(&definition)?;
        write!(out, "---\n{text}").context("unable to write to standard output")?;
    }
    Ok(())
}
