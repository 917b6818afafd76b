//! Bugs on purpose: the tests plant one, and show that what must always hold finds it.
//!
//! Compiled for tests alone (feature `planted`); without it every seam is the constant `false`.

/// Whether this bug is planted.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(feature = "planted")]
        let is_planted = crate::planted::is(crate::planted::Bug::$bug);
        #[cfg(not(feature = "planted"))]
        let is_planted = false;
        is_planted
    }};
}

#[cfg(feature = "planted")]
pub(crate) use seam::is;
#[cfg(feature = "planted")]
pub use seam::{Bug, plant};

#[cfg(feature = "planted")]
mod seam {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in this thread's decisions, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    macro_rules! bugs {
        ($($(#[$doc:meta])+ $bug:ident,)+) => {
            /// A bug that someone might make.
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum Bug {
                $($(#[$doc])+ $bug,)+
            }

            impl Bug {
                /// All of them.
                pub const ALL: &[Self] = &[$(Self::$bug,)+];
            }
        };
    }

    bugs! {
        /// The base takes one more than it may.
        BaseOneTooMany,
        /// A percentage of a base rounds down.
        ShareRoundsDown,
        /// A percentage is of what was wanted last as far as told, however late that is told.
        ShareOutdated,
        /// What was placed counts only once the watch shows it.
        PendingUncounted,
        /// Terminating pods count although the policy ignores them.
        TerminatingCounts,
        /// Pods that burstlet did not place count although the policy ignores them.
        PreviousCounts,
        /// A base that revisions share is counted for each.
        SharedPerRevision,
        /// Tiers have no caps.
        CapIgnored,
        /// Tiers are tried from the last on.
        TiersReversed,
        /// A full pool takes more.
        PoolRoomIgnored,
        /// What starts does not count against a pool's stock.
        StockIgnored,
        /// A pool takes more than its quota.
        QuotaIgnored,
        /// A pool whose provider is at fault takes pods.
        FaultIgnored,
        /// A short tier is passed before its time.
        ShortPassedAtOnce,
        /// Pods burst outside of every window.
        WindowIgnored,
        /// Pods burst though the budget is spent.
        BudgetIgnored,
        /// The lower priority gets room first.
        PriorityReversed,
        /// A policy that only observes is carried out.
        ObserveActs,
        /// A Job's pods are moved back.
        JobMovesBack,
        /// A StatefulSet's base is who comes first.
        OrdinalsIgnored,
        /// A base pod moves on before its time.
        MovesOnEarly,
        /// A refused placing stays under way for ever.
        RefusalForgotten,
        /// What a list leaves out stays.
        ListDoesNotSweep,
        /// A policy that changes is not followed.
        PolicyChangeUnseen,
        /// Decisions are made while a list is under way.
        DecidesDuringLists,
        /// Terminating pods do not count although the policy counts them.
        TerminatingIgnored,
        /// A policy that makes no sense any more is followed no more.
        FaultyPolicyForgotten,
        /// A list that names a policy which makes no sense sweeps it.
        FaultyPolicySwept,
        /// A pool that makes no sense any more loses its quota.
        FaultyPoolForgotten,
        /// A list that names a pool which makes no sense sweeps it.
        FaultyPoolSwept,
        /// What an ECI profile gives to pods does not govern them.
        ProfileIgnored,
        /// An ECI profile that changes is not followed.
        ProfileChangeUnseen,
        /// Decisions are made before anything was heard of an ECI profile.
        ProfileNotAwaited,
    }
}
