//! Base pods that fit nowhere: after a while the pool may take them too.

use crate::{
    model::{PodUid, Timestamp},
    placement::{
        Placement,
        action::{Action, Reason},
        entry::Pending,
    },
    policy::Governance,
};

impl Placement {
    pub(super) fn move_on(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let due = self.unschedulable.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<_> = due.map(|(_, uid)| uid.clone()).collect();
        for uid in due {
            self.move_pod_on(&uid, actions);
        }
    }

    fn move_pod_on(&mut self, uid: &PodUid, actions: &mut Vec<Action>) {
        let Some(entry) = self.pods.get(uid) else { return };
        let Some(state) = entry.pod.revision.as_ref().and_then(|id| self.revisions.get(id)) else { return };
        if !matches!(state.governance, Governance::Governed(..)) {
            return;
        }
        let pod = entry.pod.reference();
        let Ok(pool) = self.pool_for(&entry.pod) else { return };
        if let Some(state) = entry.pod.revision.as_ref().and_then(|id| self.revisions.get_mut(id)) {
            state.returns.failed();
        }
        let reason = Reason::BaseShort { after: self.settings.move_on_after, pool: pool.clone() };
        self.expect(uid, Pending::MovedOn);
        actions.push(Action::MoveOn { pod, pool, reason });
    }
}
