//! What kube-controller-manager is started with.

use std::time::Duration;

/// The flags and feature gates of kube-controller-manager that the HPA knows. [`Default`] is as 1.36 has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// By how much usage may differ from its target before anything happens, as a share.
    pub tolerance: f64,
    /// How long after its start a pod's CPU counts only with care.
    pub cpu_initialization_period: Duration,
    /// How long after its start a pod that turns unready counts as one that has not yet been ready.
    pub initial_readiness_delay: Duration,
    /// How long a higher recommendation holds a scale-down back, where the HPA does not say.
    pub downscale_stabilization: Duration,
    /// Feature gates.
    pub gates: FeatureGates,
    /// The HPA's namespace, which texts name.
    pub namespace: String,
}

/// Feature gates, by upstream's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureGates {
    /// `HPAScaleToZero`: `minReplicas` may be 0.
    pub scale_to_zero: bool,
    /// `HPAConfigurableTolerance`: `behavior` may name a tolerance for each direction.
    pub configurable_tolerance: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tolerance: 0.1,
            cpu_initialization_period: Duration::from_mins(5),
            initial_readiness_delay: Duration::from_secs(30),
            downscale_stabilization: Duration::from_mins(5),
            gates: FeatureGates::default(),
            namespace: "default".to_owned(),
        }
    }
}

impl Default for FeatureGates {
    fn default() -> Self {
        Self { scale_to_zero: false, configurable_tolerance: true }
    }
}
