//! What others see of the pods: the kubelet API, metrics, and who decides how many nodes there are.

use std::sync::Arc;

use super::{Entry, Index, Uid};
use crate::{
    kubelet::{
        pods::Shape,
        sync::{InstanceFact, PodFact},
    },
    provider::{InstanceState, Owner},
};

/// A running pod, as metrics see it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) uid: Uid,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Box<str>,
    pub(crate) node: Arc<str>,
    pub(crate) shape: Arc<Shape>,
    /// Seconds of Unix time at which the containers began to run.
    pub(crate) running_since: i64,
}

/// A pod that someone asks for by its name.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) owner: Owner,
    pub(crate) shape: Arc<Shape>,
}

/// How many pods and instances there are, for metrics and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Pods bound to the kubelet's nodes.
    pub pods: usize,
    /// Instances known to stand.
    pub instances: usize,
    /// Instances whose pod is not known.
    pub orphans: usize,
}

/// What is on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OnNode {
    pub(crate) pods: u32,
    /// Those that may stand, too.
    pub(crate) instances: u32,
    /// The node takes no pods.
    pub(crate) is_cordoned: bool,
}

impl Index {
    /// The pod of this name, the one that stays where its predecessor is still going; `uid` where one alone will do.
    pub(crate) fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Found> {
        let matches = |(known, entry): &(&Uid, &Entry)| {
            &*entry.namespace == namespace && &*entry.name == name && uid.is_none_or(|uid| uid == &***known)
        };
        let stays = |entry: &Entry| match &entry.pair.pod {
            PodFact::Live(view) => Some(view.deletion.is_none()),
            PodFact::Unknown | PodFact::Gone => None,
        };
        let standing = self.entries.iter().filter(matches).filter_map(|(uid, entry)| Some((stays(entry)?, uid, entry)));
        let (_, uid, entry) = standing.max_by_key(|(stays, ..)| *stays)?;
        Some(Found { owner: self.owner(uid)?, shape: Arc::clone(&entry.shape) })
    }

    /// All running pods.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let running = |(uid, entry): (&Uid, &Entry)| {
            let InstanceFact::Present { state: InstanceState::Running, .. } = entry.pair.instance else { return None };
            Some(Sample {
                uid: Arc::clone(uid),
                namespace: Arc::clone(&entry.namespace),
                name: entry.name.clone(),
                node: Arc::clone(self.nodes.get(entry.node as usize)?),
                shape: Arc::clone(&entry.shape),
                running_since: entry.times.running?,
            })
        };
        self.entries.iter().filter_map(running).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in self.entries.values() {
            let stands = matches!(entry.pair.instance, InstanceFact::Present { .. });
            let live = matches!(entry.pair.pod, PodFact::Live(_));
            counts.pods += usize::from(live);
            counts.instances += usize::from(stands);
            counts.orphans += usize::from(self.is_orphan(entry));
        }
        counts
    }

    /// Whom the instances whose pod is not there belong to, by their pods' UIDs.
    pub(crate) fn orphans(&self) -> Vec<Owner> {
        let orphans = self.entries.iter().filter(|(_, entry)| self.is_orphan(entry));
        let mut owners: Vec<_> = orphans.filter_map(|(uid, _)| self.owner(uid)).collect();
        owners.sort_by(|a, b| a.uid.cmp(&b.uid));
        owners
    }

    /// Before the pods are listed, an instance's is not missed.
    fn is_orphan(&self, entry: &Entry) -> bool {
        let stands = matches!(entry.pair.instance, InstanceFact::Present { .. });
        stands
            && match entry.pair.pod {
                PodFact::Live(_) => false,
                PodFact::Unknown => self.world.pods_listed,
                PodFact::Gone => true,
            }
    }

    /// Pods and instances of each node, by its number; `None` before both have been listed. Pods without an instance of
    /// their own do not count.
    pub(crate) fn by_node(&self) -> Option<Vec<OnNode>> {
        if !self.world.pods_listed || !self.world.instances_listed {
            return None;
        }
        let on = |number| OnNode { is_cordoned: self.cordoned.contains(&number), ..OnNode::default() };
        let mut by_node: Vec<_> = (0..self.nodes.len()).map(on).collect();
        for entry in self.entries.values() {
            let Some(on) = by_node.get_mut(entry.node as usize) else { continue };
            on.pods += match &entry.pair.pod {
                PodFact::Live(view) => u32::from(!view.held),
                // Perhaps it stands.
                PodFact::Unknown => 1,
                PodFact::Gone => 0,
            };
            let may_stand = matches!(entry.pair.instance, InstanceFact::Present { .. } | InstanceFact::Maybe);
            on.instances += u32::from(may_stand);
        }
        Some(by_node)
    }
}
