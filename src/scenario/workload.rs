//! A workload of a scenario: a Deployment and the HPA that scales it.

use std::collections::BTreeMap;

use burstlet_engine::{
    model::{MilliCpu, ObjectName, QuantityError},
    policy::{Base, BaseError, Marks},
};
use k8s_openapi::{
    api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Container},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use super::manifests::{Fault, Found, ManifestError};
use crate::api::names;

/// Where the annotation of a base stands.
pub(super) const BASE_FIELD: &str = "metadata.annotations[burstlet.dev/base]";

/// A workload, and what a play of it needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// File and line at which the Deployment begins.
    pub at: String,
    /// The Deployment, to be applied as it is.
    pub deployment: Deployment,
    /// The HPA that scales it, to be applied as it is.
    pub hpa: HorizontalPodAutoscaler,
    /// The base that the Deployment's annotation asks for, if it does.
    pub base: Option<Base>,
    /// CPU that one pod can use; `None` where a container has no limit.
    pub cpu_limit: Option<MilliCpu>,
    /// The HPA's maximum.
    pub most: u32,
}

impl Workload {
    pub(super) fn of(
        deployment: &Found<Deployment>,
        hpa: &Found<HorizontalPodAutoscaler>,
    ) -> Result<Self, ManifestError> {
        let in_deployment = |(field, fault)| deployment.fault(field, fault);
        let base = base(&deployment.object).map_err(in_deployment)?;
        let cpu_limit = cpu_limit(&deployment.object).map_err(in_deployment)?;
        let in_hpa = |(field, fault)| hpa.fault(field, fault);
        let most = most(&hpa.object).map_err(in_hpa)?;
        let at = deployment.at.clone();
        Ok(Self { at, deployment: deployment.object.clone(), hpa: hpa.object.clone(), base, cpu_limit, most })
    }

    /// Namespace and name of its Deployment.
    pub fn name(&self) -> ObjectName {
        name_of(&self.deployment.metadata)
    }

    /// The Deployment's labels and annotations.
    pub fn marks(&self) -> Marks {
        marks(&self.deployment.metadata)
    }

    /// Those of its pods.
    pub fn pod_marks(&self) -> Marks {
        let template = self.deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
        template.map(marks).unwrap_or_default()
    }
}

/// Namespace and name; without a namespace, what kubectl would apply it in.
pub(super) fn name_of(meta: &ObjectMeta) -> ObjectName {
    ObjectName::new(namespace_of(meta), meta.name.as_deref().unwrap_or_default())
}

pub(super) fn namespace_of(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or("default")
}

pub(super) fn marks(meta: &ObjectMeta) -> Marks {
    Marks { labels: meta.labels.clone().unwrap_or_default(), annotations: meta.annotations.clone().unwrap_or_default() }
}

type Checked<T> = Result<T, (&'static str, Fault)>;

fn base(deployment: &Deployment) -> Checked<Option<Base>> {
    let text = deployment.metadata.annotations.as_ref().and_then(|annotations| annotations.get(names::BASE));
    text.map(|text| text.parse()).transpose().map_err(|error: BaseError| (BASE_FIELD, error.into()))
}

/// Checks that the HPA can compute a utilization, and answers what one pod can use.
fn cpu_limit(deployment: &Deployment) -> Checked<Option<MilliCpu>> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let mut limit = Some(MilliCpu::default());
    for container in pod.map_or(&[] as &[Container], |pod| &pod.containers) {
        let resources = container.resources.as_ref();
        let requests = resources.and_then(|resources| resources.requests.as_ref());
        let limits = resources.and_then(|resources| resources.limits.as_ref());
        let field = "spec.template.spec.containers[].resources.requests.cpu";
        let requested = cpu_of(field, requests)?;
        let own = cpu_of("spec.template.spec.containers[].resources.limits.cpu", limits)?;
        // A limit alone is a request as well.
        if requested.or(own).unwrap_or_default() == MilliCpu::default() {
            let needed = "every container needs a CPU request, or the HPA cannot compute a utilization";
            return Err((field, Fault::Missing(needed)));
        }
        limit = limit.zip(own).map(|(all, own)| MilliCpu(all.0.saturating_add(own.0)));
    }
    Ok(limit)
}

fn cpu_of(field: &'static str, quantities: Option<&BTreeMap<String, Quantity>>) -> Checked<Option<MilliCpu>> {
    let quantity = quantities.and_then(|quantities| quantities.get("cpu"));
    quantity.map(|quantity| quantity.0.parse()).transpose().map_err(|error: QuantityError| (field, error.into()))
}

fn most(hpa: &HorizontalPodAutoscaler) -> Checked<u32> {
    let (min, max) = (hpa.spec.min_replicas.unwrap_or(1), hpa.spec.max_replicas);
    let most = u32::try_from(max).ok().filter(|_| 1 <= min && min <= max);
    most.ok_or(("spec", Fault::Replicas { min, max }))
}
