//! Where those who do a duty's work wait for their turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;

use super::{Duty, Leadership};

/// Which duties this replica holds, and which it is at work for. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    desks: Arc<Mutex<BTreeMap<Duty, Desk>>>,
}

#[derive(Debug)]
struct Desk {
    leadership: watch::Sender<Leadership>,
    leaves: watch::Sender<bool>,
    at_work: Arc<AtomicUsize>,
}

/// One duty, as those see it who do its work.
#[derive(Debug, Clone)]
pub struct Post {
    leadership: watch::Receiver<Leadership>,
    leaves: watch::Receiver<bool>,
    at_work: Arc<AtomicUsize>,
}

/// Work under way: until this is dropped, the duty passes to nobody who asks for it.
#[derive(Debug)]
pub struct AtWork(Arc<AtomicUsize>);

impl Roster {
    /// The post of this duty.
    pub fn post(&self, duty: &Duty) -> Post {
        let mut desks = self.desks();
        let desk = desks.entry(duty.clone()).or_default();
        Post {
            leadership: desk.leadership.subscribe(),
            leaves: desk.leaves.subscribe(),
            at_work: Arc::clone(&desk.at_work),
        }
    }

    /// Duties whose work is under way here.
    pub(super) fn at_work(&self) -> BTreeSet<Duty> {
        let desks = self.desks();
        let busy = desks.iter().filter(|(_, desk)| desk.at_work.load(Ordering::SeqCst) > 0);
        busy.map(|(duty, _)| duty.clone()).collect()
    }

    /// Tells of every post how it stands: its leadership, and whether its work must end so that another replica can have it.
    pub(super) fn tell(&self, stands: impl Fn(&Duty) -> (Leadership, bool)) {
        for (duty, desk) in &*self.desks() {
            let (leadership, leaves) = stands(duty);
            let set = |now: &mut bool| std::mem::replace(now, leaves) != leaves;
            desk.leaves.send_if_modified(set);
            desk.leadership.send_if_modified(|now| std::mem::replace(now, leadership) != leadership);
        }
    }

    /// Makes a post for each of these duties.
    pub(super) fn know(&self, duties: &BTreeSet<Duty>) {
        let mut desks = self.desks();
        for duty in duties {
            desks.entry(duty.clone()).or_default();
        }
    }

    /// Has every duty held here for a while, as a test wants it.
    #[cfg(test)]
    pub(crate) fn hold_all(&self) {
        let until = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
        self.tell(|_| (Leadership::Leader { until }, false));
    }

    /// Every duty that there is a post for.
    pub(super) fn all(&self) -> BTreeSet<Duty> {
        self.desks().keys().cloned().collect()
    }

    fn desks(&self) -> MutexGuard<'_, BTreeMap<Duty, Desk>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            leadership: watch::Sender::new(Leadership::Standby),
            leaves: watch::Sender::new(false),
            at_work: Arc::default(),
        }
    }
}

impl Post {
    /// Whether this replica holds the duty.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Waits for the turn. The work counts as under way until the answer is dropped.
    pub async fn begin(&mut self) -> AtWork {
        loop {
            // Whoever tells the work to end looks at this after it has said so, and the other way round here.
            self.at_work.fetch_add(1, Ordering::SeqCst);
            let work = AtWork(Arc::clone(&self.at_work));
            if self.is_wanted() {
                return work;
            }
            drop(work);
            self.changed().await;
        }
    }

    /// Waits until the work must end.
    pub async fn ends(&mut self) {
        while self.is_wanted() {
            self.changed().await;
        }
    }

    fn is_wanted(&mut self) -> bool {
        let leads = *self.leadership.borrow_and_update() != Leadership::Standby;
        leads && !*self.leaves.borrow_and_update()
    }

    async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.leadership.changed() => {}
            Ok(()) = self.leaves.changed() => {}
            // Nobody tells any more: what held last holds.
            else => std::future::pending().await,
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::*;

    fn leads() -> Leadership {
        Leadership::Leader { until: Instant::now() + Duration::from_secs(5) }
    }

    #[tokio::test(start_paused = true)]
    async fn work_begins_with_the_turn_and_counts_until_it_is_dropped() {
        let roster = Roster::default();
        let duty = Duty::placement();
        let mut post = roster.post(&duty);
        let soon = Duration::from_millis(10);
        assert!(timeout(soon, post.begin()).await.is_err(), "begun without a right");
        assert!(roster.at_work().is_empty());
        roster.tell(|_| (leads(), false));
        let work = timeout(soon, post.begin()).await.unwrap();
        assert_eq!(roster.at_work(), BTreeSet::from([duty]));
        assert!(timeout(soon, post.ends()).await.is_err());
        roster.tell(|_| (leads(), true));
        timeout(soon, post.ends()).await.unwrap();
        drop(work);
        assert!(roster.at_work().is_empty());
        assert!(timeout(soon, post.begin()).await.is_err(), "begun on the way out");
    }
}
