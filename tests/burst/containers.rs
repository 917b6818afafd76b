//! What a node does for burstlet's own pods where there is no container runtime: each container becomes a process of the
//! binary, with the pod's arguments, environment, mounted files and service account, at an address of loopback of its own.
//!
//! Three things that a real node has are put in place here, and nothing else is: paths of mounts become paths of this
//! machine, `0.0.0.0` becomes the pod's address, and the service account's token comes by a kubeconfig, for in
//! `/var/run/secrets` nobody but root may write. Services become forwarders (`ExternalName`, which the API server follows).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use burstlet::{
    lab::{controlplane, service::Service},
    provider::simulated::Cloud,
};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, Container, Pod, Secret, Service as ServiceObject, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};

const ADMISSION: &str = "burstlet-admission";
const POLL: Duration = Duration::from_millis(100);
/// How long a process that has ended by itself waits until it is begun again.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The containers of one namespace, until it is dropped.
pub struct Containers {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What they run with.
pub struct Ground {
    pub client: Client,
    /// Burstlet's namespace.
    pub namespace: String,
    /// The API server.
    pub url: String,
    pub ca: PathBuf,
    /// Files and logs go there.
    pub folder: PathBuf,
    /// The cloud of the real nodes, which is told when a Job's container ends.
    pub cloud: Arc<Cloud>,
    /// The first three parts of the pods' addresses.
    pub network: [u8; 3],
}

struct Shared {
    ground: Ground,
    running: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    pod: String,
    part: String,
    address: Ipv4Addr,
    command: Command,
    child: Option<Child>,
    ended: Option<Instant>,
    log: PathBuf,
    is_job: bool,
    starts: u32,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Containers {
    /// Begins to run what is bound to a node.
    pub async fn begin(ground: Ground) -> Self {
        fs::create_dir_all(&ground.folder).unwrap();
        let shared = Arc::new(Shared { ground, running: Mutex::default() });
        let [a, b, c] = shared.ground.network;
        let listen = async |port: u16| Service::listen((Ipv4Addr::new(a, b, c, 1), port).into()).await.unwrap();
        let services = [(8443, listen(8443).await), (8444, listen(8444).await)];
        let keeping = shared.clone();
        let task = tokio::spawn(async move {
            let mut next = 10;
            loop {
                keeping.round(&mut next).await;
                for (port, service) in &services {
                    let running = keeping.running.lock().unwrap();
                    let of_admission = running.values().filter(|one| one.part == "admission" && one.child.is_some());
                    service.set_backends(of_admission.map(|one| (one.address, *port).into()));
                }
                sleep(POLL).await;
            }
        });
        Self { shared, task }
    }

    /// Address that pods get, all of them: a certificate may name them.
    pub fn addresses(network: [u8; 3]) -> Vec<std::net::IpAddr> {
        let [a, b, c] = network;
        (10..=250).map(|last| Ipv4Addr::new(a, b, c, last).into()).collect()
    }

    /// The process of a pod, and its address.
    pub fn process(&self, pod: &str) -> Option<(u32, Ipv4Addr)> {
        let running = self.shared.running.lock().unwrap();
        let one = running.values().find(|one| one.pod == pod)?;
        Some((one.child.as_ref()?.id(), one.address))
    }

    /// Pods whose process runs, of a part of burstlet.
    pub fn pods(&self, part: &str) -> Vec<String> {
        let running = self.shared.running.lock().unwrap();
        running.values().filter(|one| one.part == part && one.child.is_some()).map(|one| one.pod.clone()).collect()
    }

    /// Ends a pod's process as `kill -9` does; it is begun again as a container is.
    pub fn kill(&self, pod: &str) {
        let mut running = self.shared.running.lock().unwrap();
        let one = running.values_mut().find(|one| one.pod == pod).unwrap();
        one.child.as_mut().unwrap().kill().unwrap();
    }

    /// Pods with processes that ended by themselves, more often than they were killed.
    pub fn restarts(&self) -> BTreeMap<String, u32> {
        let running = self.shared.running.lock().unwrap();
        running.values().filter(|one| one.starts > 1).map(|one| (one.pod.clone(), one.starts - 1)).collect()
    }

    /// Where the logs are.
    pub fn folder(&self) -> &Path {
        &self.shared.ground.folder
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.running.lock().unwrap().clear();
    }
}

impl Shared {
    /// Brings the processes in line with the pods.
    async fn round(&self, next: &mut u8) {
        let Ground { client, namespace, .. } = &self.ground;
        self.reach_service().await;
        let pods = Api::<Pod>::namespaced(client.clone(), namespace);
        let Ok(pods) = pods.list(&ListParams::default()).await else { return };
        let wanted = |pod: &&Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
            let is_bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            is_bound && pod.metadata.deletion_timestamp.is_none() && phase == "Running"
        };
        let pods: BTreeMap<_, _> =
            pods.items.iter().filter(wanted).map(|pod| (pod.metadata.uid.clone().unwrap(), pod)).collect();
        let gone: Vec<_> = {
            let mut running = self.running.lock().unwrap();
            let names: Vec<_> = running.keys().filter(|uid| !pods.contains_key(*uid)).cloned().collect();
            names.iter().filter_map(|uid| running.remove(uid)).collect()
        };
        for mut one in gone {
            tokio::task::spawn_blocking(move || terminate(&mut one));
        }
        for (uid, pod) in &pods {
            if !self.running.lock().unwrap().contains_key(uid) {
                let address =
                    Ipv4Addr::new(self.ground.network[0], self.ground.network[1], self.ground.network[2], *next);
                *next += 1;
                if let Some(mut one) = self.prepare(pod, address).await {
                    one.start();
                    self.running.lock().unwrap().insert(uid.clone(), one);
                }
            }
        }
        for (uid, one) in self.running.lock().unwrap().iter_mut() {
            let code = one.child.as_mut().and_then(|child| child.try_wait().unwrap());
            if let Some(code) = code {
                one.child = None;
                one.ended = Some(Instant::now());
                if one.is_job {
                    self.ground.cloud.finish(uid, code.code().unwrap_or(137));
                }
            }
            if !one.is_job && one.child.is_none() && one.ended.is_none_or(|at| at.elapsed() > BACK_OFF) {
                one.start();
            }
        }
    }

    /// No kube-proxy runs here; the API server follows a Service of this type by itself.
    async fn reach_service(&self) {
        let [a, b, c] = self.ground.network;
        let api = Api::<ServiceObject>::namespaced(self.ground.client.clone(), &self.ground.namespace);
        let Ok(Some(service)) = api.get_opt(ADMISSION).await else { return };
        if service.spec.is_some_and(|spec| spec.type_.as_deref() != Some("ExternalName")) {
            let there = json!({"spec": {"type": "ExternalName", "externalName": format!("{a}.{b}.{c}.1")}});
            api.patch(ADMISSION, &PatchParams::default(), &Patch::Merge(there)).await.unwrap();
        }
    }

    /// Lays a pod's files out and makes its command.
    async fn prepare(&self, pod: &Pod, address: Ipv4Addr) -> Option<Running> {
        let spec = pod.spec.as_ref().unwrap();
        let name = pod.name_any();
        let folder = self.ground.folder.join(&name);
        let container = &spec.containers[0];
        let mounts = self.mount(pod, container, &folder).await?;
        let kubeconfig = self.service_account(pod, &folder).await;
        let part = pod.labels().get("app.kubernetes.io/component").cloned().unwrap_or_default();
        let words = |words: &Option<Vec<String>>| -> Vec<String> {
            let words = words.iter().flatten();
            words.map(|word| replace(word, &mounts)).collect()
        };
        let is_scheduler = container.image.as_deref().is_some_and(|image| image.contains("kube-scheduler"));
        let mut command = if is_scheduler {
            let plane = tokio::task::spawn_blocking(controlplane::ensure).await.unwrap().unwrap();
            let mut command = Command::new(plane.binary());
            command.args(words(&container.command)).arg(format!("--bind-address={address}"));
            // In a cluster, all three come from the service account's folder.
            for flag in ["authentication-kubeconfig", "authorization-kubeconfig"] {
                command.arg(format!("--{flag}={}", kubeconfig.display()));
            }
            self.adapt_scheduler(&mounts, &kubeconfig);
            command
        } else {
            let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
            command.args(words(&container.command));
            command
        };
        for text in mounts.values().flat_map(|path| texts(path)) {
            let whole = fs::read_to_string(&text).unwrap();
            fs::write(&text, replace(&whole, &mounts).replace("0.0.0.0", &address.to_string())).unwrap();
        }
        command.args(words(&container.args)).env_clear().env("KUBECONFIG", &kubeconfig).env("HOSTNAME", &name);
        for variable in container.env.iter().flatten() {
            let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
            let value = match field.map(|field| field.field_path.as_str()) {
                Some("status.podIP") => address.to_string(),
                Some(other) => panic!("the harness knows no {other}"),
                None => variable.value.clone().unwrap_or_default(),
            };
            command.env(&variable.name, value);
        }
        let is_job = spec.restart_policy.as_deref() == Some("Never");
        let log = self.ground.folder.join(format!("{name}.log"));
        Some(Running { pod: name, part, address, command, child: None, ended: None, log, is_job, starts: 0 })
    }

    /// Writes the volumes that a container mounts; answers which path of the container is which here.
    async fn mount(&self, pod: &Pod, container: &Container, folder: &Path) -> Option<BTreeMap<String, PathBuf>> {
        let Ground { client, namespace, .. } = &self.ground;
        let spec = pod.spec.as_ref().unwrap();
        for volume in spec.volumes.iter().flatten() {
            let at = folder.join(&volume.name);
            fs::create_dir_all(&at).unwrap();
            if let Some(source) = &volume.config_map {
                let map = Api::<ConfigMap>::namespaced(client.clone(), namespace).get(&source.name).await.ok()?;
                let items: BTreeMap<_, _> =
                    source.items.iter().flatten().map(|item| (item.key.clone(), item.path.clone())).collect();
                for (key, text) in map.data.into_iter().flatten() {
                    if items.is_empty() || items.contains_key(&key) {
                        fs::write(at.join(items.get(&key).unwrap_or(&key)), text).unwrap();
                    }
                }
            } else if let Some(source) = &volume.secret {
                let name = source.secret_name.as_deref().unwrap();
                let secret = Api::<Secret>::namespaced(client.clone(), namespace).get(name).await.ok()?;
                for (key, bytes) in secret.data.into_iter().flatten() {
                    fs::write(at.join(key), bytes.0).unwrap();
                }
            }
        }
        let mounts = container.volume_mounts.iter().flatten();
        Some(
            mounts
                .map(|mount| {
                    let at = folder.join(&mount.name);
                    let at = mount.sub_path.as_ref().map_or(at.clone(), |sub| at.join(sub));
                    (mount.mount_path.clone(), at)
                })
                .filter(|(path, _)| !path.starts_with("/var/run/secrets"))
                .collect(),
        )
    }

    /// A kubeconfig with the token that the pod's service account has.
    async fn service_account(&self, pod: &Pod, folder: &Path) -> PathBuf {
        let Ground { client, namespace, url, ca, .. } = &self.ground;
        let account = pod.spec.as_ref().unwrap().service_account_name.as_deref().unwrap();
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name_any()),
            uid: pod.metadata.uid.clone(),
        };
        let spec = TokenRequestSpec { bound_object_ref: Some(bound), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
        let token = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        fs::create_dir_all(folder).unwrap();
        let (token_file, kubeconfig) = (folder.join("token"), folder.join("kubeconfig"));
        fs::write(&token_file, token.status.unwrap().token.unwrap()).unwrap();
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": url, "certificate-authority": ca}}],
            "users": [{"name": account, "user": {"tokenFile": token_file}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": account, "namespace": namespace}}],
        });
        fs::write(&kubeconfig, text.to_string()).unwrap();
        kubeconfig
    }

    /// What DNS and the service account's folder are to a scheduler in a cluster.
    fn adapt_scheduler(&self, mounts: &BTreeMap<String, PathBuf>, kubeconfig: &Path) {
        let [a, b, c] = self.ground.network;
        let file = mounts.values().find(|path| path.ends_with("scheduler.yaml")).unwrap();
        let mut whole: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        whole["clientConnection"] = json!({"kubeconfig": kubeconfig});
        for extender in whole["extenders"].as_array_mut().unwrap() {
            let url = extender["urlPrefix"].as_str().unwrap().to_owned();
            let host = url.strip_prefix("https://").unwrap().split(':').next().unwrap().to_owned();
            extender["urlPrefix"] = json!(url.replace(&host, &format!("{a}.{b}.{c}.1")));
            extender["tlsConfig"]["serverName"] = json!(host);
        }
        fs::write(file, whole.to_string()).unwrap();
    }
}

impl Running {
    fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        self.command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(self.command.spawn().unwrap());
        self.ended = None;
        self.starts += 1;
    }
}

/// Ends a process as a kubelet does: asked first.
fn terminate(one: &mut Running) {
    let Some(child) = &mut one.child else { return };
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Paths of the container, the longest first, become paths of this machine.
fn replace(text: &str, mounts: &BTreeMap<String, PathBuf>) -> String {
    let mut longest: Vec<_> = mounts.iter().collect();
    longest.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    longest.into_iter().fold(text.to_owned(), |text, (path, here)| text.replace(path, &here.display().to_string()))
}

/// The configurations at a path: a file, or a folder's.
fn texts(path: &Path) -> Vec<PathBuf> {
    let is_text = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
    let within = if path.is_dir() {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
    } else {
        BTreeSet::from([path.to_owned()])
    };
    within.into_iter().filter(is_text).collect()
}
