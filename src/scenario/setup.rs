//! A scenario as the simulator takes it.

use std::time::Duration;

use burstlet_engine::{
    model::{MilliCpu, Resources},
    policy::{MoveBack, Settings},
    simulator::{
        self, Amount, Autoscaler, Constraints, Latency, PerMilli, RateLimit, Reclaim, Rolling, Setup, Timing, hpa::Spec,
    },
};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Container},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    Driven, Memory, Pool, RealNodes, Scenario, Span, StartUp, StockOut, Taint, Throttle, metrics::containers, template,
};

/// Why a scenario cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A field of the HPA that the simulator does not know.
    #[error("HorizontalPodAutoscaler {name}: spec: {error}")]
    Hpa {
        /// The HPA's name.
        name: String,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// A field of the Deployment that cannot work.
    #[error("Deployment {name}: {field}: {found:?}; {allowed}")]
    Deployment {
        /// The Deployment's name.
        name: String,
        /// Path of the field.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A field of a pod that cannot be followed.
    #[error("{at}: Deployment {name}: spec.template.spec.{field}: {fault}")]
    Unsimulated {
        /// File and line at which the Deployment begins.
        at: String,
        /// The Deployment's name.
        name: String,
        /// Path of the field, below the pod.
        field: String,
        /// What is wrong with it.
        fault: String,
    },
    /// The simulator's list of quantiles is bounded.
    #[error("{field}: {found} quantiles; allowed are up to 65,535, rising")]
    Quantiles {
        /// Path of the field.
        field: String,
        /// How many there are.
        found: usize,
    },
}

impl Scenario {
    /// The scenario as the simulator takes it. The policy is the manifests' and the seed the scenario's own; both may
    /// be changed in what is answered.
    pub fn setup(&self) -> Result<Setup, SetupError> {
        let pools = self.pools.iter().enumerate().map(Self::simulated_pool);
        let pools = pools.collect::<Result<Vec<_>, _>>()?;
        Ok(Setup {
            seed: self.seed,
            starts_at: self.starts_at,
            workloads: self.workloads.iter().map(|driven| self.simulated_workload(driven)).collect::<Result<_, _>>()?,
            namespaces: self.namespaces.clone(),
            policies: self.policies.clone(),
            real_nodes: simulated_nodes("realNodes", &self.real_nodes)?,
            other_nodes: (0..)
                .zip(&self.other_nodes)
                .map(|(index, nodes): (usize, _)| simulated_nodes(&format!("otherNodes[{index}]"), nodes))
                .collect::<Result<_, _>>()?,
            autoscaler: self.simulated_autoscaler()?,
            rules: self.settings(),
            pools,
            timing: self.timing(),
            warm_up: self.warm_up,
            settle: self.settle,
            sample_every: self.sample_every,
        })
    }

    /// burstlet's own settings. Pools that objects describe come after those of the configuration, as in a cluster.
    pub(super) fn settings(&self) -> Settings {
        let rules = self.rules;
        let or = |span: Option<Span>, usual| span.map_or(usual, |span| span.0);
        let configured = self.pools.iter().filter(|pool| pool.object.is_none());
        Settings {
            pools: configured.map(|pool| pool.name.clone()).collect(),
            move_on_after: or(rules.move_on_after, Duration::from_secs(90)),
            move_back: MoveBack {
                after: or(rules.move_back_after, Duration::from_secs(20)),
                cool_down: or(rules.cool_down, Duration::from_secs(20)),
                at_once: 1,
            },
        }
    }

    fn simulated_workload(&self, driven: &Driven) -> Result<simulator::Workload, SetupError> {
        let deployment = &driven.workload.deployment;
        let all: Vec<&Deployment> = self.workloads.iter().map(|driven| &driven.workload.deployment).collect();
        let namespaces = self.namespaces.iter().map(|(name, marks)| (name.clone(), marks.labels.clone())).collect();
        let constraints = template::constraints(deployment, &all, &namespaces).map_err(|(field, fault)| {
            let (at, name) = (driven.workload.at.clone(), deployment.metadata.name.clone().unwrap_or_default());
            SetupError::Unsimulated { at, name, field, fault }
        })?;
        simulated_workload(driven, constraints)
    }

    fn simulated_autoscaler(&self) -> Result<Option<Autoscaler>, SetupError> {
        let Some(autoscaler) = &self.node_autoscaler else { return Ok(None) };
        Ok(Some(Autoscaler {
            max: autoscaler.max,
            boot: latency("nodeAutoscaler.boot", &autoscaler.boot)?,
            scan: autoscaler.scan.0,
            scale_down_after: autoscaler.scale_down_after.0,
            utilization: autoscaler.utilization.millionths() / 10_000,
        }))
    }

    fn simulated_pool((index, pool): (usize, &Pool)) -> Result<simulator::Pool, SetupError> {
        let waves = pool.reclaim.waves.iter().map(|wave| (wave.at.0, wave.share.millionths()));
        Ok(simulator::Pool {
            name: pool.name.clone(),
            nodes: pool.nodes.get(),
            pods_per_node: pool.pods_per_node.get(),
            start_up: latency(&format!("pools[{index}].startUp"), &pool.start_up)?,
            stock: stock(pool),
            quota: pool.quota,
            throttle: pool.throttle.map(rate_limit),
            reclaim: Reclaim { per_hour: pool.reclaim.per_hour.millionths(), waves: waves.collect() },
            price: (pool.price.cpu_second.get(), pool.price.gib_second.get()),
            facts: Some(pool.facts()),
            capabilities: pool.object.as_ref().map(|object| object.provider.capabilities()),
        })
    }

    fn timing(&self) -> Timing {
        let (speed, usual) = (self.cluster, Timing::default());
        Timing {
            hpa_sync: speed.hpa_sync.map_or(usual.hpa_sync, |span| span.0),
            metrics_resolution: speed.metrics_resolution.map_or(usual.metrics_resolution, |span| span.0),
            controller: speed.creations.map(rate_limit).or(usual.controller),
            scheduler: speed.bindings.map(rate_limit).or(usual.scheduler),
            ..usual
        }
    }
}

fn simulated_nodes(field: &str, nodes: &RealNodes) -> Result<simulator::RealNodes, SetupError> {
    let taint = |Taint { key, value, effect }: &Taint| simulator::Taint {
        key: key.clone(),
        value: value.clone(),
        effect: *effect,
    };
    Ok(simulator::RealNodes {
        count: nodes.count.get(),
        allocatable: Resources { cpu: nodes.cpu, memory: nodes.memory },
        max_pods: nodes.pods.get(),
        labels: nodes.labels.clone(),
        taints: nodes.taints.iter().map(taint).collect(),
        zones: nodes.zones.clone(),
        start_up: latency(&format!("{field}.startUp"), &nodes.start_up)?,
        price: nodes.price.map_or_else(PerMilli::default, |price| PerMilli::of_hour(price.hour.get())),
    })
}

fn simulated_workload(driven: &Driven, constraints: Constraints) -> Result<simulator::Workload, SetupError> {
    let Driven { workload, traffic, request_cpu, serving, metrics, updates } = driven;
    let deployment = &workload.deployment;
    let hpa_name = workload.hpa.metadata.name.clone().unwrap_or_default();
    let spec = deployment.spec.as_ref();
    let pod = spec.and_then(|spec| spec.template.spec.as_ref());
    let grace = pod.and_then(|pod| pod.termination_grace_period_seconds).unwrap_or(30);
    let selector = pod.and_then(|pod| pod.node_selector.clone()).unwrap_or_default();
    let template::Seen { requests, virtual_obstacle, needs } = template::seen(deployment);
    Ok(simulator::Workload {
        name: workload.name(),
        marks: workload.marks(),
        pods: workload.pod_marks(),
        replicas: spec.and_then(|spec| spec.replicas).and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        requests,
        containers: simulated_containers(driven),
        cpu_limit: workload.cpu_limit,
        node_selector: selector.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
        needs,
        constraints,
        virtual_obstacle,
        rolling: rolling(deployment)?,
        hpa: serde_json::to_value(&workload.hpa.spec)
            .and_then(serde_json::from_value::<Spec>)
            .map_err(|error| SetupError::Hpa { name: hpa_name, error })?,
        metrics: metrics.clone(),
        traffic: traffic.clone(),
        serving: simulator::Serving {
            request_cpu: *request_cpu,
            request_time: serving.request_time.map_or(*request_cpu, |span| span.0),
            concurrency: serving.concurrency,
            memory: serving.memory.map(|Memory { idle, per_request }| simulator::Memory { idle, per_request }),
            late_after: serving.late_after.0,
            give_up_after: serving.give_up_after.0,
            ready_after: latency("serving.readyAfter", &serving.ready_after)?,
            stop: serving.stop.0.min(Duration::from_secs(u64::try_from(grace).unwrap_or_default())),
        },
        updates: updates.clone(),
    })
}

/// The pods' containers, the one that serves first.
fn simulated_containers(driven: &Driven) -> Vec<simulator::Container> {
    let one = |container: &Container| simulator::Container {
        name: container.name.clone(),
        requests: requests(std::slice::from_ref(container)),
    };
    let deployment = &driven.workload.deployment;
    let mut all: Vec<_> = containers(deployment).iter().map(one).collect();
    let serves = |container: &simulator::Container| driven.serving.container.as_ref() == Some(&container.name);
    let first = all.iter().position(serves).unwrap_or_default();
    all.get_mut(..=first).unwrap_or_default().rotate_right(1);
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let starting = pod.and_then(|pod| pod.init_containers.as_deref()).unwrap_or_default();
    all.extend(starting.iter().filter(|container| container.restart_policy.as_deref() == Some("Always")).map(one));
    all
}

fn rate_limit(Throttle { per_second, burst }: Throttle) -> RateLimit {
    RateLimit { per_second, burst }
}

fn latency(field: &str, start_up: &StartUp) -> Result<Latency, SetupError> {
    let quantiles = start_up.quantiles();
    let found = quantiles.len();
    Latency::of_quantiles(quantiles).ok_or_else(|| SetupError::Quantiles { field: field.to_owned(), found })
}

/// The pool's stock from each moment on.
fn stock(pool: &Pool) -> Vec<(Duration, Option<u32>)> {
    let mut steps = vec![(Duration::ZERO, pool.stock)];
    for StockOut { from, until, left } in &pool.stock_outs {
        steps.extend([(from.0, Some(*left)), (until.0, pool.stock)]);
    }
    steps
}

/// What these containers request; a limit alone is a request as well.
fn requests(containers: &[Container]) -> Resources {
    let of = |container: &Container| {
        let text = |resource: &str| {
            let resources = container.resources.as_ref()?;
            let lists = [&resources.requests, &resources.limits];
            lists.into_iter().find_map(|list| list.as_ref()?.get(resource).map(|quantity| quantity.0.clone()))
        };
        Resources {
            cpu: text("cpu").and_then(|text| text.parse().ok()).unwrap_or(MilliCpu(0)),
            memory: text("memory").and_then(|text| text.parse().ok()).unwrap_or_default(),
        }
    };
    containers.iter().map(of).fold(Resources::default(), std::ops::Add::add)
}

fn rolling(deployment: &Deployment) -> Result<Rolling, SetupError> {
    let usual = Rolling::default();
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let fault = |field, found: &str, allowed| {
        let name = deployment.metadata.name.clone().unwrap_or_default();
        SetupError::Deployment { name, field, found: found.to_owned(), allowed }
    };
    if let Some(kind) = strategy.and_then(|strategy| strategy.type_.as_deref()).filter(|kind| *kind != "RollingUpdate")
    {
        return Err(fault("spec.strategy.type", kind, "allowed is RollingUpdate"));
    }
    let Some(rolling) = strategy.and_then(|strategy| strategy.rolling_update.as_ref()) else { return Ok(usual) };
    let amount = |field, value: Option<&IntOrString>, usual| match value {
        None => Ok(usual),
        Some(IntOrString::Int(count)) if *count >= 0 => Ok(Amount::Count(count.unsigned_abs())),
        Some(IntOrString::Int(count)) => Err(fault(field, &count.to_string(), ALLOWED)),
        Some(IntOrString::String(text)) => match text.strip_suffix('%').and_then(|percent| percent.parse().ok()) {
            Some(percent) => Ok(Amount::Percent(percent)),
            None => Err(fault(field, text, ALLOWED)),
        },
    };
    Ok(Rolling {
        max_surge: amount("spec.strategy.rollingUpdate.maxSurge", rolling.max_surge.as_ref(), usual.max_surge)?,
        max_unavailable: amount(
            "spec.strategy.rollingUpdate.maxUnavailable",
            rolling.max_unavailable.as_ref(),
            usual.max_unavailable,
        )?,
    })
}

const ALLOWED: &str = "allowed are a number of pods or a percentage, such as 25%";
