//! What is kept of each pod, until the pod is gone or a list of all pods lacks it.

use std::collections::HashMap;

use burstlet_engine::model::PodUid;

#[derive(Debug)]
pub(super) struct ByPod<T> {
    pods: HashMap<PodUid, Kept<T>>,
    /// Lists begun so far.
    lists: u32,
}

#[derive(Debug)]
struct Kept<T> {
    value: T,
    /// The list, or the watch after it, that last showed the pod.
    list: u32,
}

impl<T> Default for ByPod<T> {
    fn default() -> Self {
        Self { pods: HashMap::new(), lists: 0 }
    }
}

impl<T> ByPod<T> {
    pub(super) fn get(&self, uid: &PodUid) -> Option<&T> {
        self.pods.get(uid).map(|kept| &kept.value)
    }

    pub(super) fn set(&mut self, uid: &PodUid, value: T) {
        self.pods.insert(uid.clone(), Kept { value, list: self.lists });
    }

    /// What is kept of a pod that was just seen; at first, what `first` makes.
    pub(super) fn seen(&mut self, uid: &PodUid, first: impl FnOnce() -> T) -> &mut T {
        let list = self.lists;
        let kept = self.pods.entry(uid.clone()).or_insert_with(|| Kept { value: first(), list });
        kept.list = list;
        &mut kept.value
    }

    /// The pod is gone, or of no interest any more.
    pub(super) fn forget(&mut self, uid: &PodUid) {
        self.pods.remove(uid);
    }

    /// A list of all pods begins.
    pub(super) fn begin(&mut self) {
        self.lists = self.lists.wrapping_add(1);
    }

    /// It ends: what it lacks is gone.
    pub(super) fn finish(&mut self) {
        let list = self.lists;
        self.pods.retain(|_, kept| kept.list == list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_a_pod_forgets_it() {
        let mut pods = ByPod::default();
        let (a, b, c) = ("a".into(), "b".into(), "c".into());
        pods.set(&a, 1);
        pods.set(&b, 1);
        *pods.seen(&c, || 1) += 1;
        pods.begin();
        assert_eq!(pods.get(&a), Some(&1), "what the list has not shown yet may still come");
        pods.set(&b, 2);
        *pods.seen(&c, || 1) += 1;
        pods.finish();
        assert_eq!((pods.get(&a), pods.get(&b), pods.get(&c)), (None, Some(&2), Some(&3)));
        pods.forget(&b);
        assert_eq!(pods.get(&b), None);
    }
}
