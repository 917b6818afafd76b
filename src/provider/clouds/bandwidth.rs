//! Bandwidth annotations: bits a second, with `k`, `M` or `G`.

use k8s_openapi::api::core::v1::Pod;

use super::pod::{annotation, invalid};
use crate::provider::ProviderError;

/// Limit of what comes in.
pub const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
/// Limit of what goes out.
pub const EGRESS: &str = "kubernetes.io/egress-bandwidth";

/// Bits a second of an annotation, if the pod has it. Without a unit it is bits.
pub fn bandwidth(pod: &Pod, key: &str) -> Result<Option<u64>, ProviderError> {
    let Some(text) = annotation(pod, key) else { return Ok(None) };
    let trimmed = text.trim();
    let (digits, unit) = match trimmed.char_indices().last() {
        Some((at, 'k')) => (&trimmed[..at], 1_000),
        Some((at, 'M')) => (&trimmed[..at], 1_000_000),
        Some((at, 'G')) => (&trimmed[..at], 1_000_000_000),
        _ => (trimmed, 1),
    };
    let bits = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|bits| *bits > 0);
    let text = format!("{text:?} is no bandwidth; write bits a second, such as 100M (units: k, M, G)");
    bits.map(Some).ok_or_else(|| invalid(&format!("annotation {key}"), text))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn units_are_k_m_and_g_and_nothing_else() {
        let read = |text: &str| {
            let mut pod = Pod::default();
            pod.metadata.annotations = Some(BTreeMap::from([(INGRESS.to_owned(), text.to_owned())]));
            bandwidth(&pod, INGRESS).ok().flatten()
        };
        assert_eq!(
            [read("100M"), read("5k"), read("1G"), read("800")],
            [Some(100_000_000), Some(5000), Some(1_000_000_000), Some(800)]
        );
        assert_eq!([read("100m"), read("-1M"), read("0"), read("1.5G"), read("é")], [None; 5]);
        assert_eq!(bandwidth(&Pod::default(), EGRESS), Ok(None));
    }
}
