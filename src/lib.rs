//! burstlet keeps a **base** of each annotated workload on real nodes and **bursts** the rest to virtual nodes, which
//! its own virtual kubelet backs with serverless containers.
//!
//! # The way of a pod
//!
//! ```text
//!  HPA ─ scales ─> Deployment ─> ReplicaSet ─> Pod CREATE
//!                                                │
//!                     1 admission ───────────────┤ governed? a scheduling gate; it counts nothing
//!                                                ▼
//!                                            gated pod
//!                                                │ pod watch, in order
//!                     2 placer ── engine ────────┤ base:  gate off, a plain pod
//!                       (leader)                 │ burst: gate off, toleration and affinity for the pool's nodes
//!                                                │ wait:  stays gated, with its reason
//!                                                ▼
//!                                         kube-scheduler
//!                     3 extender ────────────────┤ filter, prioritize, preempt, bind: guards the tier
//!                                                ▼
//!                  real node's kubelet   or   virtual node's
//!                                                │
//!                     4 kubelet ── provider ─────┘ one instance a pod; status back to the API server
//!                       (leader)
//! ```
//!
//! A ReplicaSet that scales in takes the pods that are cheapest to lose first: burst before base.
//!
//! # Where things are
//!
//! The core, the crate `burstlet_engine`, decides and does no I/O. This crate is the shell around it:
//!
//! | module | what it does |
//! |---|---|
//! | [`api`] | names, wire types, and Kubernetes' objects in the engine's words |
//! | [`watch`] | watches as events for the engine; leader election |
//! | [`admission`] | the webhooks: a gate on governed pods, warnings about bases that do nothing |
//! | [`placer`] | carries the engine's decisions out |
//! | [`extender`] | answers kube-scheduler |
//! | [`kubelet`] | virtual nodes and their pods; the kubelet HTTPS API |
//! | [`provider`] | who runs instances: the trait, and its implementations |
//! | [`serve`] | HTTPS listeners |
//! | [`telemetry`] | logs, metrics, Events, health |
//! | [`record`] | traffic from files, Prometheus and live clusters |
//! | [`scenario`] | what the demo plays and the simulator replays, read from files |
//! | [`report`] | what a run has delivered, for people |
//! | [`study`] | many simulations: policies compared, the base picked |
//! | [`page`] | the live page of the leader |
//! | [`run`] | all of it in one process, led by one replica |
//! | [`lab`] | what only trials need: a local cluster, a test bench, the demo (feature `lab`) |
//! | [`cli`] | the command line, one file a subcommand |
//!
//! Who may use whom is a table in `tests/layers.rs`, and a test holds the source to it.

pub mod admission;
pub mod api;
pub mod cli;
pub mod extender;
pub mod kubelet;
#[cfg(feature = "lab")]
pub mod lab;
pub mod page;
pub mod placer;
pub mod provider;
pub mod record;
pub mod release;
pub mod report;
pub mod run;
pub mod scenario;
pub mod serve;
pub mod study;
pub mod telemetry;
pub mod watch;
