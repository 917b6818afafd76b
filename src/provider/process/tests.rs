use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use super::*;
use crate::provider::{ContainerReport, ContainerState, InstanceState};

struct Fixture {
    processes: Processes,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings =
            Settings { first_back_off: Duration::from_millis(50), ..Settings::new(folder.path().to_owned()) };
        Self { processes: Processes::start(settings).unwrap(), folder }
    }

    async fn run(&self, uid: &str, spec: Value) -> Owner {
        let owner = owner(uid);
        let pod = serde_json::from_value(json!({"metadata": {"name": uid}, "spec": spec})).unwrap();
        self.processes.create(&owner, &pod).await.unwrap();
        owner
    }

    async fn instance(&self, uid: &str) -> Option<Instance> {
        let instances = self.processes.list("here").await.unwrap();
        instances.into_iter().find(|instance| instance.owner.uid == uid)
    }

    /// The instance, as soon as it is as wanted.
    async fn until(&self, uid: &str, wanted: impl Fn(&Instance) -> bool) -> Instance {
        let began = Instant::now();
        loop {
            let instance = self.instance(uid).await;
            match instance {
                Some(instance) if wanted(&instance) => return instance,
                seen => assert!(began.elapsed() < Duration::from_secs(20), "{seen:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn log(&self, owner: &Owner, options: LogOptions) -> Result<String, ProviderError> {
        let pieces: Vec<_> = self.processes.logs(owner, "c", &options).await?.collect().await;
        let bytes = pieces.into_iter().map(Result::unwrap).collect::<Vec<_>>().concat();
        Ok(String::from_utf8(bytes).unwrap())
    }
}

fn owner(uid: &str) -> Owner {
    Owner {
        cluster: "here".to_owned(),
        node: "node".to_owned(),
        namespace: "default".to_owned(),
        name: uid.to_owned(),
        uid: uid.to_owned(),
    }
}

fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "command": ["sh", "-c", script]})
}

fn report<'a>(instance: &'a Instance, name: &str) -> &'a ContainerReport {
    instance.containers.iter().find(|report| report.name == name).unwrap()
}

/// A command in the container `c`.
fn exec(command: &[&str], streams: Streams) -> Exec {
    Exec { container: "c".to_owned(), command: command.iter().map(|word| (*word).to_owned()).collect(), streams }
}

#[tokio::test]
async fn init_containers_run_in_order_and_sidecars_beside_the_others() {
    let fixture = Fixture::new();
    let mut sidecar = shell("side", "echo side >> ../../../volumes/v/order; sleep 600");
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [shell("first", "echo first >> ../../../volumes/v/order"), sidecar],
        "containers": [shell("c", "sleep 0.2; cat ../../../volumes/v/order")],
        "volumes": [{"name": "v", "emptyDir": {}}],
    });
    let owner = fixture.run("a", spec).await;
    let ended = fixture.until("a", |instance| instance.state.is_finished()).await;
    assert_eq!(ended.state, InstanceState::Succeeded);
    assert_eq!(fixture.log(&owner, LogOptions::default()).await.unwrap(), "first\nside\n");
    assert!(matches!(report(&ended, "side").state, ContainerState::Ended(_)), "sidecars end after the others");
}

#[tokio::test]
async fn a_container_that_fails_is_restarted_and_its_last_log_kept() {
    let fixture = Fixture::new();
    let script = "echo run; test -e dev/twice && sleep 600; test -e dev/once && touch dev/twice; touch dev/once
                  echo why > dev/termination-log; exit 3";
    let mut container = shell("c", script);
    container["terminationMessagePath"] = json!("/dev/termination-log");
    container["volumeMounts"] = json!([{"name": "v", "mountPath": "/dev"}]);
    let spec = json!({"containers": [container], "volumes": [{"name": "v", "emptyDir": {}}]});
    let owner = fixture.run("a", spec).await;
    let again = fixture.until("a", |instance| report(instance, "c").restarts == 2).await;
    assert_eq!(again.state, InstanceState::Running, "a pod whose container is restarted runs");
    let last = report(&again, "c").last.clone().unwrap();
    assert_eq!((last.exit_code, last.message.as_deref()), (3, Some("why\n")));
    let previous = LogOptions { previous: true, ..LogOptions::default() };
    assert_eq!(fixture.log(&owner, previous).await.unwrap(), "run\n");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_and_fails_the_pod() {
    let fixture = Fixture::new();
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "command": ["no-such-program"]}]});
    fixture.run("a", spec).await;
    let ended = fixture.until("a", |instance| instance.state.is_finished()).await;
    let InstanceState::Failed { reason, message, exit_code } = ended.state else { panic!("{ended:?}") };
    assert_eq!((&*reason, exit_code), ("StartError", 127));
    assert!(message.contains("no-such-program"), "{message}");
}

#[tokio::test]
async fn deletion_gives_no_more_than_the_grace_and_leaves_neither_process_nor_folder() {
    let fixture = Fixture::new();
    let script = "trap '' TERM; setsid sleep 600 & while :; do sleep 0.1; done";
    let owner = fixture.run("a", json!({"containers": [shell("c", script)]})).await;
    fixture.until("a", |instance| instance.state == InstanceState::Running).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (sender, mut changes) = mpsc::channel(64);
    let watched = fixture.processes.clone();
    tokio::spawn(async move { watched.watch("here", sender).await });
    assert_eq!(changes.recv().await, Some(InstanceChange::Watching));
    let began = Instant::now();
    fixture.processes.delete(&owner, Duration::from_mins(10)).await.unwrap();
    fixture.processes.delete(&owner, Duration::from_secs(1)).await.unwrap();
    while changes.recv().await != Some(InstanceChange::Gone(owner.clone())) {}
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(system::sweep(&fixture.folder.path().join("a")), 0, "a process is left");
    assert!(!fixture.folder.path().join("a").exists());
}

#[tokio::test]
async fn what_a_killed_provider_left_is_ended_at_the_next_start() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path().canonicalize().unwrap();
    let mut left =
        std::process::Command::new("sleep").arg("600").env(system::MARKER, folder.join("old")).spawn().unwrap();
    std::fs::create_dir(folder.join("old")).unwrap();
    // The child's environment is its parent's until it has begun to be its own.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _again = Processes::start(Settings::new(folder.clone())).unwrap();
    assert!(!left.wait().unwrap().success());
    assert!(!folder.join("old").exists());
}

#[tokio::test]
async fn a_failing_liveness_probe_restarts_and_readiness_is_what_its_probe_says() {
    let fixture = Fixture::new();
    let mut container = shell("c", "touch ready; sleep 600");
    container["readinessProbe"] = json!({"exec": {"command": ["test", "-e", "ready"]}, "periodSeconds": 1});
    container["livenessProbe"] =
        json!({"exec": {"command": ["test", "!", "-e", "dead"]}, "periodSeconds": 1, "failureThreshold": 1});
    let owner = fixture.run("a", json!({"terminationGracePeriodSeconds": 1, "containers": [container]})).await;
    fixture.until("a", |instance| report(instance, "c").is_ready).await;
    let streams = Streams { stdin: None, stdout: None, stderr: None, tty: false, resize: None };
    assert_eq!(fixture.processes.exec(&owner, exec(&["touch", "dead"], streams)).await, Ok(ExitStatus::SUCCESS));
    fixture.until("a", |instance| report(instance, "c").restarts >= 1).await;
}

#[tokio::test]
async fn hooks_are_done_at_the_start_and_before_the_end() {
    let fixture = Fixture::new();
    let mut container = shell("c", "trap 'cat order; exit 0' TERM; while :; do sleep 0.05; done");
    let exec = |script: &str| json!({"exec": {"command": ["sh", "-c", script]}});
    container["lifecycle"] = json!({"postStart": exec("echo start >> order"), "preStop": exec("echo stop >> order")});
    let owner = fixture.run("a", json!({"restartPolicy": "Never", "containers": [container]})).await;
    fixture.until("a", |instance| instance.state == InstanceState::Running).await;
    let order = fixture.folder.path().join("a/containers/c/root/order");
    let began = Instant::now();
    while !order.exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "no hook at the start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let log = tokio::spawn({
        let (processes, owner) = (fixture.processes.clone(), owner.clone());
        async move { processes.logs(&owner, "c", &options).await.unwrap().collect::<Vec<_>>().await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    fixture.processes.delete(&owner, Duration::from_secs(20)).await.unwrap();
    let pieces = log.await.unwrap().into_iter().map(Result::unwrap).collect::<Vec<_>>().concat();
    let told = String::from_utf8(pieces).unwrap();
    // Some shells tell that the signal ended what they waited for.
    let told: Vec<_> = told.lines().filter(|line| *line != "Terminated").collect();
    assert_eq!(told, ["start", "stop"]);
}

#[tokio::test]
async fn a_start_hook_that_fails_ends_the_container() {
    let fixture = Fixture::new();
    let mut container = shell("c", "sleep 600");
    container["lifecycle"] = json!({"postStart": {"exec": {"command": ["false"]}}});
    let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]});
    fixture.run("a", spec).await;
    let ended = fixture.until("a", |instance| instance.state.is_finished()).await;
    assert!(matches!(ended.state, InstanceState::Failed { .. }), "{ended:?}");
}

#[tokio::test]
async fn a_pod_runs_no_longer_than_its_deadline() {
    let fixture = Fixture::new();
    let spec = json!({"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 1, "containers": [shell("c", "sleep 600")]});
    fixture.run("a", spec).await;
    let ended = fixture.until("a", |instance| instance.state.is_finished()).await;
    let InstanceState::Failed { reason, .. } = ended.state else { panic!("{ended:?}") };
    assert_eq!(reason, "DeadlineExceeded");
}

/// An HTTP probe, and one that only connects.
#[tokio::test]
async fn probes_ask_over_http_and_tcp() {
    let fixture = Fixture::new();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = axum::Router::new().route("/ready", axum::routing::get(|| async { "yes" }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let probed = |name: &str, probe: Value| {
        let mut container = shell(name, "sleep 600");
        container["ports"] = json!([{"name": "web", "containerPort": port}]);
        container["readinessProbe"] = probe;
        container
    };
    let containers = json!([
        probed("http", json!({"httpGet": {"path": "/ready", "port": "web"}, "periodSeconds": 1})),
        probed("missing", json!({"httpGet": {"path": "/no", "port": port}, "periodSeconds": 1, "failureThreshold": 1})),
        probed("tcp", json!({"tcpSocket": {"port": port}, "periodSeconds": 1})),
    ]);
    fixture.run("a", json!({"containers": containers})).await;
    let ready =
        fixture.until("a", |instance| report(instance, "http").is_ready && report(instance, "tcp").is_ready).await;
    assert!(!report(&ready, "missing").is_ready);
}

#[tokio::test]
async fn files_are_there_before_the_containers_begin_and_follow_what_is_told() {
    let fixture = Fixture::new();
    let owner = owner("a");
    let mut container = shell("c", "cat etc/map/colour; echo; sleep 600");
    container["volumeMounts"] = json!([{"name": "map", "mountPath": "/etc/map"}]);
    container["env"] = json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
    let spec = json!({"containers": [container], "volumes": [{"name": "map", "configMap": {"name": "settings"}}]});
    let pod = serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
    let content = |colour: &str| {
        let file = crate::provider::File { data: colour.as_bytes().to_vec(), mode: 0o644 };
        let files = BTreeMap::from([("colour".to_owned(), file)]);
        Content { volumes: BTreeMap::from([("map".to_owned(), files)]), registries: Vec::new() }
    };
    fixture.processes.create_with(&owner, &pod, &content("red")).await.unwrap();
    fixture.until("a", |instance| instance.state == InstanceState::Running).await;
    let began = Instant::now();
    while fixture.log(&owner, LogOptions::default()).await.unwrap() != "red\n" {
        assert!(began.elapsed() < Duration::from_secs(20), "the container did not read the first file");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fixture.processes.renew(&owner, &content("green")).await.unwrap();
    let file = fixture.folder.path().join("a/containers/c/root/etc/map/colour");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "green");
    let (mut own, theirs) = tokio::io::duplex(1024);
    let streams = Streams { stdin: None, stdout: Some(Box::pin(theirs)), stderr: None, tty: false, resize: None };
    fixture.processes.exec(&owner, exec(&["sh", "-c", "echo $IP"], streams)).await.unwrap();
    let mut said = String::new();
    own.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "127.0.0.1\n");
}

#[tokio::test]
async fn an_exec_whose_caller_leaves_is_ended_with_all_its_children() {
    let fixture = Fixture::new();
    let owner = fixture.run("a", json!({"containers": [shell("c", "sleep 600")]})).await;
    fixture.until("a", |instance| instance.state == InstanceState::Running).await;
    let (mut own, theirs) = tokio::io::duplex(1024);
    let streams = Streams { stdin: None, stdout: Some(Box::pin(theirs)), stderr: None, tty: false, resize: None };
    let command = exec(&["sh", "-c", "sleep 601 & echo $!; wait"], streams);
    let child = {
        let mut exec = fixture.processes.exec(&owner, command);
        let mut line = [0; 32];
        let length = tokio::select! {
            _ = &mut exec => panic!("it ended by itself"),
            length = own.read(&mut line) => length.unwrap(),
        };
        String::from_utf8_lossy(&line[..length]).trim().to_owned()
    };
    let began = Instant::now();
    while std::fs::read_to_string(format!("/proc/{child}/cmdline")).is_ok_and(|command| command.contains("601")) {
        assert!(began.elapsed() < Duration::from_secs(10), "process {child} is left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_used_is_counted_and_never_zero() {
    let fixture = Fixture::new();
    fixture.run("a", json!({"containers": [shell("c", "while :; do :; done")]})).await;
    fixture.until("a", |instance| instance.state == InstanceState::Running).await;
    let first = fixture.processes.usage("here").await.unwrap().remove(0);
    assert!(first.cpu > Duration::ZERO && first.memory_bytes > 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = fixture.processes.usage("here").await.unwrap().remove(0);
    assert!(second.cpu > first.cpu && second.cpu_nano_cores > 0, "{first:?} {second:?}");
}
