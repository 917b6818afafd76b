//! Where a pod may go, by what placement wrote on it.

use crate::api::{extender::PlacementAnnotations, names};

use super::nodes::{VirtualNode, VirtualNodesView};

/// What a pod's annotations allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    tier: Tier,
    pool: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    Base,
    Burst,
    BaseShort,
    /// No tier: burstlet does not govern the pod. A virtual node among its candidates has let it past its taint, so
    /// someone wants it there.
    Ungoverned,
    /// A tier this version does not know, of a newer one or by hand.
    Unknown,
}

/// Why a pod may not go to a node. None of them is solved by evicting another pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A base pod and a virtual node.
    BaseOnVirtual,
    /// A burst pod and a real node.
    BurstOnReal,
    /// A virtual node of a pool that is not the pod's.
    OtherPool,
    /// A burst pod that names no pool.
    NoPool,
    /// The node's pool takes no more now.
    NoStock,
    /// A tier that is not understood, and a virtual node.
    UnknownTier,
}

impl Refusal {
    /// The reason, for events and `kubectl describe`. Needs no escape in JSON.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BaseOnVirtual => "burstlet: a base pod runs on real nodes only",
            Self::BurstOnReal => "burstlet: a burst pod runs on virtual nodes of its pool only",
            Self::OtherPool => "burstlet: the virtual node is of another pool than the pod's",
            Self::NoPool => "burstlet: the burst pod names no pool in its annotation burstlet.dev/pool",
            Self::NoStock => "burstlet: the pool takes no more instances now",
            Self::UnknownTier => "burstlet: the tier in annotation burstlet.dev/tier is unknown; real nodes only",
        }
    }
}

impl Standing {
    /// Reads what placement wrote. Owned, for it outlives the call in the extender's memory of decided pods.
    pub fn of(annotations: &PlacementAnnotations) -> Self {
        let tier = match annotations.tier.as_deref() {
            None => Tier::Ungoverned,
            Some(names::TIER_BASE) => Tier::Base,
            Some(names::TIER_BURST) => Tier::Burst,
            Some(names::TIER_BASE_SHORT) => Tier::BaseShort,
            // Real nodes named again as a later tier: guarded like the base.
            Some(tier) if names::tier_real_number(tier).is_some() => Tier::Base,
            Some(_) => Tier::Unknown,
        };
        Self { tier, pool: annotations.pool.as_deref().map(Into::into) }
    }

    /// Whether the pod may go to a node: to the virtual node given, or else to a real one.
    #[inline]
    pub fn check(&self, node: Option<&VirtualNode>, nodes: &VirtualNodesView) -> Result<(), Refusal> {
        match (self.tier, node) {
            (Tier::Ungoverned, _) | (Tier::Base | Tier::BaseShort | Tier::Unknown, None) => Ok(()),
            (Tier::Base, Some(_)) => Err(Refusal::BaseOnVirtual),
            (Tier::Unknown, Some(_)) => Err(Refusal::UnknownTier),
            (Tier::Burst, None) => Err(Refusal::BurstOnReal),
            (Tier::Burst | Tier::BaseShort, Some(node)) => match &self.pool {
                None if self.tier == Tier::Burst => Err(Refusal::NoPool),
                Some(pool) if **pool != *node.pool => Err(Refusal::OtherPool),
                _ if nodes.is_out_of_stock(&node.pool) => Err(Refusal::NoStock),
                _ => Ok(()),
            },
        }
    }

    /// Whether evicting others from real nodes may make room for the pod.
    pub fn may_use_real_nodes(&self) -> bool {
        self.tier != Tier::Burst
    }

    /// What the pod prefers among the nodes that it may use.
    pub fn preference(&self) -> Preference {
        match self.tier {
            Tier::Base | Tier::Ungoverned | Tier::Unknown => Preference::None,
            Tier::BaseShort => Preference::RealNodes,
            Tier::Burst => Preference::SpreadOverPool,
        }
    }
}

/// What a pod prefers among the nodes that it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// The extender has no say.
    None,
    /// Real nodes before virtual ones.
    RealNodes,
    /// Ready virtual nodes, pods spread evenly.
    SpreadOverPool,
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::nodes::VirtualNodes, *};

    pub(in crate::extender) fn standing(tier: Option<&str>, pool: Option<&str>) -> Standing {
        Standing::of(&PlacementAnnotations { tier: tier.map(Into::into), pool: pool.map(Into::into) })
    }

    /// Answers for a real node, a node of pool `eci`, and one of pool `kci`.
    fn answers(nodes: &VirtualNodes, tier: Option<&str>, pool: Option<&str>) -> [Result<(), Refusal>; 3] {
        let view = nodes.view();
        ["real", "eci-1", "kci-1"].map(|name| standing(tier, pool).check(view.get(name), &view))
    }

    fn two_pools() -> VirtualNodes {
        let nodes = VirtualNodes::default();
        nodes.upsert("eci-1", "eci", true);
        nodes.upsert("kci-1", "kci", true);
        nodes
    }

    #[test]
    fn the_tier_decides_where_a_pod_may_go() {
        use Refusal::{BaseOnVirtual, BurstOnReal, NoPool, OtherPool, UnknownTier};
        let nodes = two_pools();
        assert_eq!(answers(&nodes, None, None), [Ok(()), Ok(()), Ok(())]);
        assert_eq!(answers(&nodes, Some("base"), None), [Ok(()), Err(BaseOnVirtual), Err(BaseOnVirtual)]);
        assert_eq!(answers(&nodes, Some("burst"), Some("eci")), [Err(BurstOnReal), Ok(()), Err(OtherPool)]);
        assert_eq!(answers(&nodes, Some("burst"), None), [Err(BurstOnReal), Err(NoPool), Err(NoPool)]);
        assert_eq!(answers(&nodes, Some("base-short"), Some("kci")), [Ok(()), Err(OtherPool), Ok(())]);
        assert_eq!(answers(&nodes, Some("base-short"), None), [Ok(()), Ok(()), Ok(())]);
        assert_eq!(answers(&nodes, Some("gold"), Some("eci")), [Ok(()), Err(UnknownTier), Err(UnknownTier)]);
    }

    #[test]
    fn a_pool_without_stock_takes_no_governed_pod() {
        let nodes = two_pools();
        nodes.set_stock("eci", Some(0));
        assert_eq!(answers(&nodes, Some("burst"), Some("eci"))[1], Err(Refusal::NoStock));
        assert_eq!(answers(&nodes, Some("base-short"), None), [Ok(()), Err(Refusal::NoStock), Ok(())]);
        assert_eq!(answers(&nodes, None, None), [Ok(()), Ok(()), Ok(())]);
    }

    #[test]
    fn reasons_need_no_escape_in_json() {
        use Refusal::{BaseOnVirtual, BurstOnReal, NoPool, NoStock, OtherPool, UnknownTier};
        for refusal in [BaseOnVirtual, BurstOnReal, OtherPool, NoPool, NoStock, UnknownTier] {
            let plain = format!("\"{}\"", refusal.reason());
            assert_eq!(serde_json::to_string(refusal.reason()).unwrap(), plain);
        }
    }
}
