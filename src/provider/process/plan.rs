//! What a pod's spec comes to on this host: folders, environments, commands. What cannot be had is refused beforehand.

use std::{
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod, PodSpec, Probe, Volume};

use super::{files, system::MARKER};
use crate::provider::{Content, ProviderError};

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Environment variable with the folder that stands for the container's root.
const ROOT: &str = "BURSTLET_ROOT";

/// Grace of a container that its liveness probe has found dead.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// When a container that ended is run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// A pod, ready to run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) folder: PathBuf,
    /// In order; those before a sidecar wait for it to start.
    pub(super) init: Vec<ContainerPlan>,
    pub(super) containers: Vec<ContainerPlan>,
    volumes: Vec<String>,
    /// How long it may run in all.
    pub(super) deadline: Option<Duration>,
}

/// A container, ready to run.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent wishes, as the spec has them")]
pub(super) struct ContainerPlan {
    pub(super) name: String,
    /// The folder that stands for its root.
    pub(super) root: PathBuf,
    pub(super) logs: PathBuf,
    pub(super) work: PathBuf,
    pub(super) command: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    /// Mounts: where below the root, and the folder or file that stands there.
    mounts: Vec<(PathBuf, PathBuf)>,
    pub(super) restart: Restart,
    pub(super) is_sidecar: bool,
    pub(super) stdin: bool,
    pub(super) stdin_once: bool,
    pub(super) tty: bool,
    /// What the container writes here is its last words.
    pub(super) termination_message: PathBuf,
    /// Of a container that failed without last words, the end of its log serves.
    pub(super) falls_back_to_logs: bool,
    /// Ports by name, for probes.
    pub(super) ports: BTreeMap<String, u16>,
    pub(super) startup: Option<Probe>,
    pub(super) readiness: Option<Probe>,
    pub(super) liveness: Option<Probe>,
    /// Done as soon as it runs; where it fails, the container ends.
    pub(super) post_start: Option<Hook>,
    /// Done before it is asked to end, within its grace.
    pub(super) pre_stop: Option<Hook>,
    /// What it is given to end by itself when its liveness probe has found it dead.
    pub(super) grace: Duration,
}

/// What is done at a container's start or end.
#[derive(Debug, Clone)]
pub(super) enum Hook {
    /// The same as a probe does, once.
    Act(Box<Probe>),
    Sleep(Duration),
}

impl Hook {
    fn of(handler: &LifecycleHandler) -> Option<Self> {
        if let Some(sleep) = &handler.sleep {
            return Some(Self::Sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))));
        }
        let LifecycleHandler { exec, http_get, tcp_socket, .. } = handler.clone();
        let has_any = exec.is_some() || http_get.is_some() || tcp_socket.is_some();
        has_any.then(|| Self::Act(Box::new(Probe { exec, http_get, tcp_socket, ..Probe::default() })))
    }
}

impl Plan {
    /// What `pod` comes to in `folder`, which is its own.
    pub(super) fn of(pod: &Pod, folder: PathBuf) -> Result<Self, ProviderError> {
        let spec = pod.spec.as_ref().ok_or_else(|| ProviderError::Invalid("the pod has no spec".to_owned()))?;
        let volumes = spec.volumes.iter().flatten();
        let plans = |containers: &[Container], is_init: bool| {
            containers
                .iter()
                .map(|container| ContainerPlan::of(spec, container, is_init, &folder))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            init: plans(spec.init_containers.as_deref().unwrap_or_default(), true)?,
            containers: plans(&spec.containers, false)?,
            volumes: volumes.map(|volume| volume_folder(volume).map(str::to_owned)).collect::<Result<_, _>>()?,
            deadline: spec.active_deadline_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs),
            folder,
        })
    }

    /// All its containers, in the order in which they begin.
    pub(super) fn all(&self) -> impl Iterator<Item = &ContainerPlan> {
        self.init.iter().chain(&self.containers)
    }

    /// Makes the folders, with the files of `content` in them.
    pub(super) fn lay_out(&self, content: &Content) -> io::Result<()> {
        for volume in &self.volumes {
            std::fs::create_dir_all(self.folder.join("volumes").join(volume))?;
        }
        self.put(content)?;
        for container in self.all() {
            for folder in [&container.logs, &container.root, &container.work] {
                std::fs::create_dir_all(folder)?;
            }
            for (mount, source) in &container.mounts {
                if let Some(above) = mount.parent() {
                    std::fs::create_dir_all(above)?;
                }
                if !source.exists() {
                    std::fs::create_dir_all(source)?;
                }
                if std::fs::symlink_metadata(mount).is_err() {
                    std::os::unix::fs::symlink(source, mount)?;
                }
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Puts the files of `content` in the place of those that are there.
    pub(super) fn put(&self, content: &Content) -> io::Result<()> {
        let mut own = content.volumes.iter().filter(|(volume, _)| self.volumes.contains(volume));
        own.try_for_each(|(volume, files)| files::put(&self.folder.join("volumes").join(volume), files))
    }
}

/// The name of a volume that a folder can stand for.
fn volume_folder(volume: &Volume) -> Result<&str, ProviderError> {
    let is_here = volume.empty_dir.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some();
    if is_here {
        return Ok(&volume.name);
    }
    let text =
        format!("volume {}: processes can have emptyDir, configMap, secret, downwardAPI and projected", volume.name);
    Err(ProviderError::Invalid(text))
}

/// `path` below `root`, whatever it tries to climb out by.
pub(super) fn below(root: &Path, path: &str) -> PathBuf {
    let parts = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
    root.join(parts.collect::<PathBuf>())
}

impl ContainerPlan {
    fn of(spec: &PodSpec, container: &Container, is_init: bool, pod: &Path) -> Result<Self, ProviderError> {
        let refuse = |why: &str| Err(ProviderError::Invalid(format!("container {}: {why}", container.name)));
        let security = container.security_context.as_ref();
        if security.is_some_and(|security| security.privileged == Some(true)) {
            return refuse("no process here is privileged");
        }
        let own = pod.join("containers").join(&container.name);
        let root = own.join("root");
        let environment = environment(container, pod, &root);
        let words = container.command.iter().flatten().chain(container.args.iter().flatten());
        let command: Vec<String> = words.map(|word| expand(word, &environment)).collect();
        if container.command.as_ref().is_none_or(Vec::is_empty) {
            return refuse("processes run programs of this host, not images: give it a command");
        }
        let probes = [&container.startup_probe, &container.readiness_probe, &container.liveness_probe];
        if probes.into_iter().flatten().any(|probe| probe.grpc.is_some()) {
            return refuse("probes are exec, httpGet and tcpSocket here, not grpc");
        }
        let mounts = container.volume_mounts.iter().flatten().map(|mount| {
            let volume = pod.join("volumes").join(&mount.name);
            let source = mount.sub_path.as_deref().map_or_else(|| volume.clone(), |path| below(&volume, path));
            (below(&root, &mount.mount_path), source)
        });
        let is_sidecar = is_init && container.restart_policy.as_deref() == Some("Always");
        let message = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
        Ok(Self {
            name: container.name.clone(),
            logs: own.join("logs"),
            work: container.working_dir.as_deref().map_or_else(|| root.clone(), |path| below(&root, path)),
            command,
            mounts: mounts.collect(),
            restart: match spec.restart_policy.as_deref() {
                _ if is_sidecar => Restart::Always,
                Some("Never") => Restart::Never,
                Some("OnFailure") => Restart::OnFailure,
                // An init container is done when it has ended well.
                _ if is_init => Restart::OnFailure,
                _ => Restart::Always,
            },
            is_sidecar,
            stdin: container.stdin == Some(true),
            stdin_once: container.stdin_once == Some(true),
            tty: container.tty == Some(true),
            termination_message: below(&root, message),
            falls_back_to_logs: container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"),
            ports: container
                .ports
                .iter()
                .flatten()
                .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
                .collect(),
            startup: container.startup_probe.clone(),
            readiness: container.readiness_probe.clone(),
            liveness: container.liveness_probe.clone(),
            post_start: container.lifecycle.as_ref().and_then(|life| life.post_start.as_ref()).and_then(Hook::of),
            pre_stop: container.lifecycle.as_ref().and_then(|life| life.pre_stop.as_ref()).and_then(Hook::of),
            grace: {
                let own = container.liveness_probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
                let seconds = own.or(spec.termination_grace_period_seconds).and_then(|grace| u64::try_from(grace).ok());
                seconds.map_or(DEFAULT_GRACE, Duration::from_secs)
            },
            environment,
            root,
        })
    }
}

/// The container's variables, each able to name those before it, and what the provider adds.
fn environment(container: &Container, pod: &Path, root: &Path) -> BTreeMap<String, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), text(root)),
        (ROOT.to_owned(), text(root)),
    ]);
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            // What the kubelet leaves to the instance is its address.
            Some(_) => super::ADDRESS.to_string(),
            None => expand(variable.value.as_deref().unwrap_or_default(), &environment),
        };
        environment.insert(variable.name.clone(), value);
    }
    environment.insert(MARKER.to_owned(), text(pod));
    environment
}

/// Puts values in the place of `$(NAME)`; unknown names stay, and `$$` is `$`.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let named = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        rest = match named {
            Some((name, after)) if environment.contains_key(name) => {
                expanded.push_str(&environment[name]);
                after
            }
            _ => {
                expanded.push('$');
                after.strip_prefix('$').unwrap_or(after)
            }
        };
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(spec: &Value) -> Result<Plan, ProviderError> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
        Plan::of(&pod, PathBuf::from("/pods/u"))
    }

    #[test]
    fn commands_and_variables_may_name_variables() {
        let spec = json!({"containers": [{"name": "c", "command": ["echo"], "args": ["$(B)", "$$(B)", "$(NO) 5$"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}]}]});
        let plan = plan(&spec).unwrap();
        assert_eq!(plan.containers[0].command, ["echo", "12", "$(B)", "$(NO) 5$"]);
        assert_eq!(plan.containers[0].environment[MARKER], "/pods/u");
    }

    #[test]
    fn nothing_leads_out_of_the_containers_folder() {
        let spec = json!({
            "containers": [{"name": "c", "command": ["x"], "workingDir": "/../../etc",
                            "volumeMounts": [{"name": "v", "mountPath": "/data/../../..", "subPath": "../../x"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        });
        let container = &plan(&spec).unwrap().containers[0];
        assert!(container.work.starts_with("/pods/u/containers/c/root"));
        assert_eq!(container.mounts[0].1, Path::new("/pods/u/volumes/v/x"));
        assert!(container.mounts[0].0.starts_with("/pods/u/containers/c/root"));
    }

    #[test]
    fn what_a_process_cannot_have_is_refused() {
        let refused = |spec: &Value| plan(spec).unwrap_err().to_string();
        assert!(refused(&json!({"containers": [{"name": "c"}]})).contains("give it a command"));
        let privileged =
            json!({"containers": [{"name": "c", "command": ["x"], "securityContext": {"privileged": true}}]});
        assert!(refused(&privileged).contains("privileged"));
        let host = json!({"containers": [{"name": "c", "command": ["x"]}],
                          "volumes": [{"name": "h", "hostPath": {"path": "/etc"}}]});
        assert!(refused(&host).contains("volume h"));
        let grpc = json!({"containers": [{"name": "c", "command": ["x"], "livenessProbe": {"grpc": {"port": 1}}}]});
        assert!(refused(&grpc).contains("grpc"));
    }

    #[test]
    fn restarts_follow_the_pod_but_sidecars_always_run() {
        let spec = |policy: &str| {
            json!({
                "restartPolicy": policy,
                "initContainers": [{"name": "i", "command": ["x"]}, {"name": "s", "command": ["x"], "restartPolicy": "Always"}],
                "containers": [{"name": "c", "command": ["x"]}],
            })
        };
        let restarts = |policy| plan(&spec(policy)).unwrap().all().map(|c| c.restart).collect::<Vec<_>>();
        assert_eq!(restarts("Always"), [Restart::OnFailure, Restart::Always, Restart::Always]);
        assert_eq!(restarts("OnFailure"), [Restart::OnFailure, Restart::Always, Restart::OnFailure]);
        assert_eq!(restarts("Never"), [Restart::Never, Restart::Always, Restart::Never]);
    }
}
