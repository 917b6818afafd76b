//! The names burstlet reads and writes on Kubernetes objects.

/// API group of burstlet's own kinds.
pub const GROUP: &str = "burstlet.dev";

/// Their version.
pub const VERSION: &str = "v1alpha1";

/// Base of a workload, or of a namespace as its workloads' default: a number (`3`) or a percentage (`30%`).
pub const BASE: &str = "burstlet.dev/base";

/// Tier that placement chose for a pod: [`TIER_BASE`], [`TIER_BURST`], [`TIER_BASE_SHORT`] or [`tier_real`].
pub const TIER: &str = "burstlet.dev/tier";

/// Why the pod stands (or waits) where it does, for people.
pub const REASON: &str = "burstlet.dev/reason";

/// Pool of a pod that may run on virtual nodes (annotation), and of a virtual node (label).
pub const POOL: &str = "burstlet.dev/pool";

/// What each place of its policy said when placement decided for the pod, as JSON ([`crate::api::decision::Decision`]).
pub const DECISION: &str = "burstlet.dev/decision";

/// When placement decided for the pod, in RFC 3339: waiting for real nodes is counted from here, also after a restart.
pub const DECIDED_AT: &str = "burstlet.dev/decided-at";

/// Scheduling gate that admission puts on governed pods and placement takes off.
pub const GATE: &str = "burstlet.dev/placement";

/// Value of [`TIER`]: one of the workload's base, on real nodes.
pub const TIER_BASE: &str = "base";

/// Value of [`TIER`]: beyond the base, on the pool's virtual nodes.
pub const TIER_BURST: &str = "burst";

/// Value of [`TIER`]: of the base, but real nodes were short for too long; real or virtual nodes may take it.
pub const TIER_BASE_SHORT: &str = "base-short";

/// Value of [`TIER`]: beyond the base, on real nodes, which the policy names again. Its second tier of that kind is
/// `real-2`, and so on.
const TIER_REAL: &str = "real";

/// Value of [`TIER`] for the policy's tier on real nodes with this number, from 0.
pub fn tier_real(number: u8) -> String {
    match number {
        0 => TIER_REAL.to_owned(),
        _ => format!("{TIER_REAL}-{}", u16::from(number) + 1),
    }
}

/// The number of a tier on real nodes, if the value of [`TIER`] is one's.
pub fn tier_real_number(tier: &str) -> Option<u8> {
    match tier.strip_prefix(TIER_REAL)? {
        "" => Some(0),
        rest => rest.strip_prefix('-')?.parse::<u16>().ok()?.checked_sub(1)?.try_into().ok(),
    }
}

/// What a pod needs of the cluster's network, as it declares itself: `cluster-dns` (names of Services), `services` (their
/// addresses), or both with a comma between. A pool that does not give it does not take the pod.
pub const NEEDS: &str = "burstlet.dev/needs";

/// Set to `true` on a pod (in its workload's template), keeps burstlet's hands off it.
pub const IGNORE: &str = "burstlet.dev/ignore";

/// Annotation of a pod that an instance runs: the cloud's name for it.
pub const INSTANCE_ID: &str = "burstlet.dev/instance-id";

/// Annotation of a pod that an instance runs: its size, and what it was rounded up from.
pub const INSTANCE_SIZE: &str = "burstlet.dev/instance-size";

/// Taint key of every virtual node; its value is the provider's name.
pub const TAINT_PROVIDER: &str = "virtual-kubelet.io/provider";

/// Label that says a node is virtual; its value is [`VIRTUAL_NODE_TYPE`].
pub const NODE_TYPE: &str = "type";

/// Value of [`NODE_TYPE`] on virtual nodes.
pub const VIRTUAL_NODE_TYPE: &str = "virtual-kubelet";

/// Label of every node that burstlet makes, and of what it makes for a trial.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", MANAGER);

/// Labels of every virtual node, beside [`POOL`]. Neither a hostname, which breaks the hostname spread of other pods, nor
/// a zone, which real nodes may lack.
pub const VIRTUAL_NODE_LABELS: [(&str, &str); 7] = [
    (NODE_TYPE, VIRTUAL_NODE_TYPE),
    ("kubernetes.io/role", "agent"),
    ("kubernetes.io/os", "linux"),
    ("kubernetes.io/arch", "amd64"),
    // Older manifests select by it.
    ("beta.kubernetes.io/os", "linux"),
    ("node.kubernetes.io/exclude-from-external-load-balancers", "true"),
    MANAGED_BY,
];

/// Kubernetes' own annotation that orders a ReplicaSet's scale-in: lower goes first.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Annotation of a virtual node: since when its pool takes pods (again), in RFC 3339. Its change has kube-scheduler
/// try again the pods that found no stock.
pub const STOCK_SINCE: &str = "burstlet.dev/stock-since";

/// Annotation of a virtual node that is cordoned and goes once it is empty: since when, in RFC 3339.
pub const DRAINS_SINCE: &str = "burstlet.dev/drains-since";

/// Annotation of a node that tells metrics-server its path on the kubelet's port.
pub const METRICS_PATH: &str = "metrics.k8s.io/resource-metrics-path";

/// Field manager and event source of everything burstlet writes.
pub const MANAGER: &str = "burstlet";
