//! Prioritize: which of the allowed nodes a pod should rather go to.

use super::{
    args::{NodeNames, NodesArgs},
    nodes::{VirtualNode, VirtualNodesView},
    standing::{Preference, Standing},
};
use crate::api::extender::MAX_SCORE;

/// Answers prioritize in JSON: a list of [`HostPriority`](crate::api::extender::HostPriority).
///
/// - A burst pod: 0 for a node that is not ready (or not virtual), else 1 to 10 by a hash of the pod's UID and the
///   node's name, so that pods spread evenly and the same pod gets the same scores from every replica. Stock is the
///   pool's, and so the same for all its nodes; filter has taken out pools without any.
/// - A base pod that found no room for too long: 10 for real nodes, 0 for virtual ones.
/// - Any other pod: an empty list, which kube-scheduler takes as no preference.
pub fn prioritize(args: &NodesArgs<'_>, standing: &Standing, nodes: &VirtualNodesView) -> Vec<u8> {
    match standing.preference() {
        Preference::None => b"[]".to_vec(),
        Preference::RealNodes => write(&args.names, |name| if nodes.get(name).is_some() { 0 } else { MAX_SCORE }),
        Preference::SpreadOverPool => {
            let uid = fnv1a(FNV_OFFSET, &args.pod.metadata.uid);
            write(&args.names, |name| match nodes.get(name) {
                Some(VirtualNode { is_ready: true, .. }) => 1 + spread(fnv1a(uid, name)),
                _ => 0,
            })
        }
    }
}

fn write(names: &NodeNames<'_>, score: impl Fn(&str) -> u8) -> Vec<u8> {
    const SCORES: [&[u8]; MAX_SCORE as usize + 1] = [
        b",\"Score\":0}",
        b",\"Score\":1}",
        b",\"Score\":2}",
        b",\"Score\":3}",
        b",\"Score\":4}",
        b",\"Score\":5}",
        b",\"Score\":6}",
        b",\"Score\":7}",
        b",\"Score\":8}",
        b",\"Score\":9}",
        b",\"Score\":10}",
    ];
    const LONGEST_LINE: usize = ",{\"Host\":,\"Score\":10}".len();
    let mut answer = Vec::with_capacity(names.text_len() + names.len() * LONGEST_LINE + 2);
    let mut lead: &[u8] = b"[{\"Host\":";
    for (index, name) in names.iter().enumerate() {
        answer.extend_from_slice(lead);
        answer.extend_from_slice(names.quoted(index, index + 1).as_bytes());
        answer.extend_from_slice(SCORES[usize::from(score(name).min(MAX_SCORE))]);
        lead = b",{\"Host\":";
    }
    answer.extend_from_slice(if names.is_empty() { b"[]" } else { b"]" });
    answer
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a continued from `hash`: the same in every process and version, which the standard library's hasher is not.
fn fnv1a(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// One of ten, by a hash's upper bits, which FNV mixes best.
fn spread(hash: u64) -> u8 {
    u8::try_from((hash >> 32) % u64::from(MAX_SCORE)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{nodes::VirtualNodes, standing::tests::standing},
        *,
    };
    use crate::api::extender::HostPriority;

    fn ask(nodes: &VirtualNodes, standing: &Standing, uid: &str, names: &[&str]) -> Vec<HostPriority> {
        let body =
            serde_json::to_vec(&serde_json::json!({"Pod": {"metadata": {"uid": uid}}, "NodeNames": names})).unwrap();
        let answer = prioritize(&NodesArgs::parse(&body).unwrap(), standing, &nodes.view());
        serde_json::from_slice(&answer).unwrap()
    }

    fn line(host: &str, score: u8) -> HostPriority {
        HostPriority { host: host.to_owned(), score }
    }

    #[test]
    fn base_short_prefers_real_nodes_and_other_tiers_prefer_nothing() {
        let nodes = VirtualNodes::default();
        nodes.upsert("v", "eci", true);
        let short = standing(Some("base-short"), Some("eci"));
        assert_eq!(ask(&nodes, &short, "u", &["a", "v", "b"]), [line("a", 10), line("v", 0), line("b", 10)]);
        assert_eq!(ask(&nodes, &short, "u", &[]), []);
        for tier in [None, Some("base"), Some("?")] {
            assert_eq!(ask(&nodes, &standing(tier, None), "u", &["a", "v"]), []);
        }
    }

    #[test]
    fn burst_pods_avoid_nodes_that_are_not_ready_and_spread_evenly_over_the_rest() {
        let nodes = VirtualNodes::default();
        let names = ["v-0", "v-1", "v-2", "v-3", "sick"];
        for name in names {
            nodes.upsert(name, "eci", name != "sick");
        }
        let burst = standing(Some("burst"), Some("eci"));
        let mut wins: BTreeMap<String, u32> = BTreeMap::new();
        for pod in 0..4_000 {
            let uid = format!("5b1c{pod:04x}-7d3e-4c55-9f01-0242ac120002");
            let scores = ask(&nodes, &burst, &uid, &names);
            assert_eq!(scores, ask(&nodes, &burst, &uid, &names), "the same pod, the same scores");
            assert_eq!(scores[4], line("sick", 0));
            assert!(scores[..4].iter().all(|line| (1..=10).contains(&line.score)));
            // kube-scheduler breaks ties at random; here the pod's number does.
            let best = scores.iter().map(|line| line.score).max().unwrap();
            let tied: Vec<_> = scores.into_iter().filter(|line| line.score == best).collect();
            *wins.entry(tied[pod % tied.len()].host.clone()).or_default() += 1;
        }
        assert!(wins.values().all(|wins| (800..1_200).contains(wins)), "{wins:?}");
    }
}
