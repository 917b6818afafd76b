//! Filter: which of the feasible nodes a pod's tier allows.
//!
//! The answer depends on each name by itself: kube-scheduler may send a single name (a nominated node, a batch), or
//! the same call again within one cycle.

use super::{
    args::NodesArgs,
    nodes::VirtualNodesView,
    standing::{Refusal, Standing},
};

/// Answers filter in JSON: an [`ExtenderFilterResult`](crate::api::extender::FilterResult).
///
/// Refused nodes are all reported as unresolvable, else kube-scheduler would look there for pods to evict.
pub fn filter(args: &NodesArgs<'_>, standing: &Standing, nodes: &VirtualNodesView) -> Vec<u8> {
    let names = &args.names;
    let mut answer = Vec::with_capacity(names.text_len() + 64);
    let mut refused: Vec<(usize, Refusal)> = Vec::new();
    answer.extend_from_slice(br#"{"NodeNames":["#);
    // Names between two refused ones are copied as they came.
    let mut passed_from = 0;
    let mut separator: &[u8] = b"";
    let mut copy = |from: usize, to: usize| {
        if from < to {
            answer.extend_from_slice(separator);
            answer.extend_from_slice(names.quoted(from, to).as_bytes());
            separator = b",";
        }
    };
    for (index, name) in names.iter().enumerate() {
        if let Err(refusal) = standing.check(nodes.get(name), nodes) {
            copy(passed_from, index);
            passed_from = index + 1;
            refused.push((index, refusal));
        }
    }
    copy(passed_from, names.len());
    answer.push(b']');
    let mut lead: &[u8] = br#","FailedAndUnresolvableNodes":{"#;
    for (index, refusal) in &refused {
        answer.extend_from_slice(lead);
        answer.extend_from_slice(names.quoted(*index, index + 1).as_bytes());
        answer.extend_from_slice(b":\"");
        answer.extend_from_slice(refusal.reason().as_bytes());
        answer.push(b'"');
        lead = b",";
    }
    answer.extend_from_slice(if refused.is_empty() { b"}" } else { b"}}" });
    answer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{nodes::VirtualNodes, standing::tests::standing},
        *,
    };
    use crate::api::extender::FilterResult;

    fn virtual_nodes() -> VirtualNodes {
        let nodes = VirtualNodes::default();
        nodes.upsert("eci-1", "eci", true);
        nodes.upsert("eci-2", "eci", false);
        nodes.upsert("kci-1", "kci", true);
        nodes
    }

    fn ask(standing: &Standing, names: &[&str]) -> FilterResult {
        let body = serde_json::to_vec(&serde_json::json!({"Pod": {"metadata": {}}, "NodeNames": names})).unwrap();
        let answer = filter(&NodesArgs::parse(&body).unwrap(), standing, &virtual_nodes().view());
        serde_json::from_slice(&answer).unwrap()
    }

    #[test]
    fn a_base_pod_is_kept_from_virtual_nodes_with_the_reason() {
        let answer = ask(&standing(Some("base"), None), &["eci-1", "a", "b", "kci-1", "c"]);
        assert_eq!(answer.node_names, ["a", "b", "c"]);
        let failed: Vec<_> = answer.failed_and_unresolvable_nodes.into_iter().collect();
        let reason = Refusal::BaseOnVirtual.reason().to_owned();
        assert_eq!(failed, [("eci-1".to_owned(), reason.clone()), ("kci-1".to_owned(), reason)]);
    }

    #[test]
    fn a_burst_pod_is_kept_to_its_pool() {
        let answer = ask(&standing(Some("burst"), Some("eci")), &["a", "eci-1", "kci-1", "eci-2"]);
        assert_eq!(answer.node_names, ["eci-1", "eci-2"]);
        assert_eq!(answer.failed_and_unresolvable_nodes.len(), 2);
    }

    #[test]
    fn no_names_and_a_single_name_are_answered_like_any_other() {
        let burst = standing(Some("burst"), Some("eci"));
        assert_eq!(ask(&burst, &[]), FilterResult::default());
        assert_eq!(ask(&burst, &["eci-2"]).node_names, ["eci-2"]);
        assert_eq!(ask(&burst, &["a"]).node_names, [""; 0]);
    }

    proptest! {
        #[test]
        fn every_name_is_answered_by_its_own_check_and_in_order(
            names in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "eci-1", "eci-2", "kci-1"]), 0..12),
            tier in proptest::sample::select(vec![None, Some("base"), Some("burst"), Some("base-short"), Some("?")]),
        ) {
            let standing = standing(tier, Some("eci"));
            let view = virtual_nodes();
            let view = view.view();
            let (passed, refused): (Vec<&str>, Vec<&str>) =
                names.iter().partition(|name| standing.check(view.get(name), &view).is_ok());
            let answer = ask(&standing, &names);
            prop_assert_eq!(answer.node_names, passed);
            let mut refused = refused;
            refused.sort_unstable();
            refused.dedup();
            prop_assert_eq!(answer.failed_and_unresolvable_nodes.into_keys().collect::<Vec<_>>(), refused);
        }
    }
}
