//! Why a cluster that is there already cannot take a stand.

use std::{net::IpAddr, time::Duration};

use super::{super::said, certificate::SIGNER};

/// What is in the way, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// Nobody answers.
    #[error(
        "unable to reach the API server of context {context}: {reason}; check that the cluster runs, and that the \
         context's address and credentials are right"
    )]
    Unreachable {
        /// The kubeconfig's context.
        context: String,
        /// What came instead of an answer.
        reason: String,
    },
    /// The context's user may not do what is needed.
    #[error("the user of context {context} may not {what}; take a context of a cluster administrator")]
    Forbidden {
        /// The kubeconfig's context.
        context: String,
        /// Verbs and resources.
        what: String,
    },
    /// The HPA would have nothing to go by.
    #[error("the cluster's metrics API does not answer ({reason}); install metrics-server, or wait until it is ready")]
    NoMetricsApi {
        /// What came instead of an answer.
        reason: String,
    },
    /// What would be made is there.
    #[error(
        "{what} is there already: burstlet is installed in this cluster, or a demo was killed in it; remove it, or \
         take another cluster. Nothing was touched"
    )]
    Occupied {
        /// Kind and name of the first object found.
        what: String,
    },
    /// A request was refused.
    #[error("unable to {doing}: {reason}")]
    Request {
        /// What was asked.
        doing: String,
        /// The API server's words.
        reason: String,
    },
    /// The address is not this machine's.
    #[error("unable to listen on {address}: {source}; --address must be an address of this machine")]
    Address {
        /// The address given.
        address: IpAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No certificate for the kubelets.
    #[error(
        "the cluster gave no serving certificate for the demo's nodes ({reason}); its controller manager must sign \
         for {SIGNER}"
    )]
    NotSigned {
        /// What became of the request.
        reason: String,
    },
    /// The API server does not find the webhook.
    #[error(
        "the API server does not reach this process at {address} (its webhook is not asked); say by --address at \
         which address of this machine it does"
    )]
    NotReached {
        /// The address given.
        address: IpAddr,
    },
    /// metrics-server does not find the kubelets, or does not trust them.
    #[error(
        "{what} did not come about within {within:?}: metrics-server must reach this process at {address} (see \
         --address), and trust certificates that the cluster signs for {SIGNER}"
    )]
    WithoutMetrics {
        /// What was waited for.
        what: String,
        /// The address given.
        address: IpAddr,
        /// How long.
        within: Duration,
    },
    /// Not everything could be removed.
    #[error("left behind in the cluster: {what} ({reason}); remove what is listed with kubectl delete")]
    Left {
        /// Kinds and names.
        what: String,
        /// What was in the way.
        reason: String,
    },
}

/// A closure for `map_err`.
pub(super) fn refused(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> GuestError {
    let doing = doing.into();
    move |error| GuestError::Request { doing, reason: said(&error) }
}
