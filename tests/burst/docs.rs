//! The shell commands of the documentation, run as they stand there, by a shell whose `helm`, `kubectl` and `burstlet` are the
//! real ones. Each has its place in the list below; those that run nowhere are there with the reason.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use burstlet::lab::controlplane;

use crate::tool;

/// Where a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the story of `install.rs`, on its cluster.
    Install,
    /// In the test below, without a cluster.
    Alone,
    /// Not here: why.
    Elsewhere(&'static str),
}

use At::{Alone, Elsewhere, Install};

const VNODES: &str = "needs a cloud's account; tests/clouds/vnode.rs runs the same against an emulator";

const COMMANDS: &[(&str, At)] = &[
    // Getting started.
    ("image/build", Elsewhere("builds the release's binary, for minutes")),
    ("kubectl create namespace burstlet-system", Install),
    (
        "kubectl --namespace burstlet-system create secret generic cloud-keys --from-literal=ak=… --from-literal=sk=…",
        Install,
    ),
    ("helm install burstlet helm/burstlet --namespace burstlet-system --values values.yaml", Install),
    ("burstlet doctor", Install),
    ("kubectl annotate deployment web burstlet.dev/base=3", Install),
    ("kubectl rollout restart deployment web", Install),
    ("burstlet status --output wide", Install),
    ("burstlet explain deployment/web", Install),
    ("kubectl --namespace burstlet-system create serviceaccount viewer", Install),
    (
        "kubectl create clusterrolebinding burstlet-viewer --clusterrole burstlet-page --serviceaccount burstlet-system:viewer",
        Install,
    ),
    ("kubectl --namespace burstlet-system create token viewer", Install),
    (
        "kubectl --namespace burstlet-system port-forward service/burstlet-page 8445:443",
        Elsewhere(
            "burstlet's pods are processes here, on nodes without port-forward; tests/kubelet_containers has that",
        ),
    ),
    ("helm uninstall burstlet --namespace burstlet-system", Install),
    ("kubectl delete crd burstpolicies.burstlet.dev virtualpools.burstlet.dev", Install),
    ("source <(burstlet completion bash)", Alone),
    ("burstlet completion zsh > ~/.zfunc/_burstlet", Alone),
    ("burstlet completion fish > ~/.config/fish/completions/burstlet.fish", Alone),
    // Operations.
    ("kubectl apply --server-side --filename helm/burstlet/crds", Install),
    ("helm upgrade burstlet helm/burstlet --namespace burstlet-system --values values.yaml", Install),
    ("helm rollback burstlet --namespace burstlet-system", Install),
    ("kubectl delete mutatingwebhookconfiguration,validatingwebhookconfiguration burstlet", Install),
    ("burstlet release", Install),
    ("kubectl get events --field-selector reportingComponent=burstlet", Install),
    ("burstlet status --output json", Install),
    ("burstlet explain pod/web-1 --output yaml", Install),
    // Providers.
    ("burstlet crd", Alone),
    ("kubectl explain virtualpool.spec.provider.alibabaEci", Install),
    // From ECI and KCI.
    (
        "kubectl -n burstlet-system create secret generic alibaba-addon-secret --from-literal=access-key-id=… --from-literal=access-key-secret=…",
        Install,
    ),
    (
        "burstlet pool import tests/clouds/seeds/000-eci-registered-cluster/manifests.yaml --region cn-hangzhou --quota 2000 | kubectl apply -f -",
        Install,
    ),
    (
        "burstlet pool import tests/clouds/seeds/001-eci-many-virtual-nodes/manifests.yaml --quota 12000 | kubectl apply -f -",
        Install,
    ),
    ("burstlet pool import tests/clouds/seeds/002-eci-vnodectl/config.yaml | kubectl apply -f -", Install),
    (
        "kubectl -n burstlet-system create secret generic kci-keys --from-literal=KCI_ACCESS_KEY=… --from-literal=KCI_SECRET_KEY=…",
        Install,
    ),
    ("burstlet pool import tests/clouds/seeds/003-kci/manifests.yaml | kubectl apply -f -", Install),
    ("burstlet pool import tests/clouds/seeds/003-kci-temporary-keys/manifests.yaml | kubectl apply -f -", Install),
    (
        "kubectl -n kube-system create role burstlet-keys --verb=get --resource=configmaps --resource-name=user-temp-aksk",
        Install,
    ),
    (
        "kubectl -n kube-system create rolebinding burstlet-keys --role=burstlet-keys --serviceaccount=burstlet-system:burstlet-controller",
        Install,
    ),
    ("burstlet pool import tests/clouds/seeds/004-eci-virtual-kubelet/manifests.yaml | kubectl apply -f -", Install),
    ("kubectl delete -f alicloud-virtual-nodes-eci.yaml", Elsewhere("a file of the cluster that is left")),
    ("burstlet vnode create --pool virtual-node-eci", Elsewhere(VNODES)),
    ("burstlet vnode delete burstlet-virtual-node-eci-4 --drain", Elsewhere(VNODES)),
    ("burstlet vnode config set-context default", Elsewhere(VNODES)),
    ("burstlet vnode create --service-account kube-system/vnode", Elsewhere(VNODES)),
    ("burstlet vnode list", Elsewhere(VNODES)),
    ("burstlet vnode delete cn-hangzhou.vnd-… --drain", Elsewhere(VNODES)),
    ("burstlet routes plan --cluster-id my-cluster", Elsewhere(VNODES)),
    ("burstlet routes apply --cluster-id my-cluster", Elsewhere(VNODES)),
    // Kingsoft.
    (
        "burstlet emulate kingsoft-kci --listen 127.0.0.1:7001 --access-key id:secret",
        Elsewhere("takes a port that another may have; tests/clouds/kingsoft_kci.rs runs it on a free one"),
    ),
    (
        r#"curl -X PATCH 127.0.0.1:7001/_admin/settings -H 'content-type: application/json' -d '{"zones": {"subnet-a": {"instances": 0}}}'"#,
        Elsewhere("the same"),
    ),
    // Replay's metrics.
    (
        "burstlet replay flash-crowd --on local --json > run.jsonl",
        Elsewhere("plays for minutes on a control plane of its own; what it printed once is kept in tests/runs"),
    ),
    ("burstlet replay flash-crowd --against run.jsonl", Alone),
    // README.
    ("cargo run --release -- demo", Elsewhere("builds for minutes and plays for more; tests/context.rs plays it")),
    ("cargo test", Elsewhere("this is it")),
    ("burstlet replay flash-crowd --report run.html", Alone),
    ("burstlet compare stock-out --base 5", Alone),
    ("burstlet tune slow-autoscaler --objective 'p95<30s'", Alone),
    ("burstlet record access.log.gz -o web.traffic", Alone),
    ("burstlet hpa hpa.json", Alone),
    (
        "helm install burstlet helm/burstlet --namespace burstlet-system --create-namespace --set clusterId=my-cluster --set image.repository=REGISTRY/burstlet",
        Elsewhere("REGISTRY stands for one's own; the line of getting-started installs the same chart"),
    ),
];

/// The commands of all pages, each with the page that has it. What follows ` #` is a comment.
fn written() -> BTreeMap<String, PathBuf> {
    let pages = fs::read_dir(tool::root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut found = BTreeMap::new();
    for page in pages.chain([tool::root().join("README.md")]) {
        let text = fs::read_to_string(&page).unwrap();
        let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        for line in blocks.flat_map(str::lines).filter(|line| !line.trim().is_empty()) {
            let command = line.split(" # ").next().unwrap().trim();
            found.insert(command.to_owned(), page.clone());
        }
    }
    found
}

/// A shell in a folder where the repository's files and those of the reader lie.
pub struct Terminal {
    folder: tempfile::TempDir,
    kubeconfig: Option<PathBuf>,
    ran: RefCell<BTreeSet<String>>,
}

impl Terminal {
    /// With the cluster of a kubeconfig, or with none.
    pub fn new(kubeconfig: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["bin", "home/.zfunc", "home/.config/fish/completions"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["helm", "tests"] {
            symlink(tool::root().join(name), at(name)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_burstlet"), at("bin/burstlet")).unwrap();
        if kubeconfig.is_some() {
            symlink(tool::helm(), at("bin/helm")).unwrap();
            let plane = controlplane::ensure().unwrap();
            let script = format!("#!/bin/sh\nexec '{}' kubectl \"$@\"\n", plane.binary().display());
            fs::write(at("bin/kubectl"), script).unwrap();
            fs::set_permissions(at("bin/kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder, kubeconfig: kubeconfig.map(Path::to_owned), ran: RefCell::default() }
    }

    /// A file that the reader of the page has.
    pub fn has(&self, name: &str, contents: &[u8]) {
        fs::write(self.folder.path().join(name), contents).unwrap();
    }

    /// A command that runs a line of shell here.
    fn shell(&self, line: &str) -> Command {
        let at = |name: &str| self.folder.path().join(name);
        let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("bash");
        command.args(["-e", "-o", "pipefail", "-c", line]).current_dir(self.folder.path());
        command.env("PATH", path).env("HOME", at("home")).env("KUBERC", "off").env_remove("KUBECONFIG");
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command
    }

    /// Runs a command of the documentation, which shall succeed, and answers what it printed.
    pub async fn run(&self, command: &str) -> String {
        self.run_as(command, command).await
    }

    /// The same, with a word that stands for the reader's own replaced.
    pub async fn run_as(&self, command: &str, line: &str) -> String {
        let known = COMMANDS.iter().find(|(known, _)| *known == command);
        assert!(known.is_some_and(|(_, at)| matches!(at, Install | Alone)), "{command} is none of the documentation's");
        self.ran.borrow_mut().insert(command.to_owned());
        let mut shell = self.shell(line);
        let output = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap();
        let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}: {}: {told}{said}", output.status);
        assert!(
            !told.contains('\u{1b}') && !said.contains('\u{1b}'),
            "{line}: colours without a terminal: {told}{said}"
        );
        told.into_owned()
    }

    /// All that shall run in the story of the installation did.
    pub fn ran_all_of_installation(&self) {
        self.ran_all(Install);
    }

    fn ran_all(&self, at: At) {
        let ran = self.ran.borrow();
        let missed: Vec<_> = COMMANDS.iter().filter(|(command, of)| *of == at && !ran.contains(*command)).collect();
        assert!(missed.is_empty(), "never run: {missed:#?}");
    }
}

#[test]
fn every_command_of_the_documentation_is_known_here_and_those_that_do_not_run_say_why() {
    let written = written();
    let known: BTreeSet<_> = COMMANDS.iter().map(|(command, _)| *command).collect();
    let missing: Vec<_> = written.iter().filter(|(command, _)| !known.contains(command.as_str())).collect();
    assert!(missing.is_empty(), "give each its place in the list: {missing:#?}");
    let gone: Vec<_> = known.iter().filter(|command| !written.contains_key(**command)).collect();
    assert!(gone.is_empty(), "no page has them any more: {gone:#?}");
    assert!(COMMANDS.iter().all(|(_, at)| !matches!(at, Elsewhere(""))));
}

#[tokio::test]
async fn the_documentations_commands_that_need_no_cluster_run() {
    let terminal = Terminal::new(None);
    let mut log = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for second in 0..60 {
        let line = format!("10.0.0.1 - - [29/Nov/2026:10:00:{second:02} +0000] \"GET / HTTP/1.1\" 200 12\n");
        std::io::Write::write_all(&mut log, line.as_bytes()).unwrap();
    }
    terminal.has("access.log.gz", &log.finish().unwrap());
    terminal.has("hpa.json", br#"{"hpa": {"maxReplicas": 3}, "steps": [{"currentReplicas": 0, "pods": []}]}"#);
    terminal.has("run.jsonl", include_bytes!("../runs/flash-crowd.jsonl"));
    for (command, _) in COMMANDS.iter().filter(|(_, at)| *at == Alone) {
        terminal.run(command).await;
    }
    for made in ["run.html", "web.traffic", "home/.zfunc/_burstlet", "home/.config/fish/completions/burstlet.fish"] {
        let length = fs::metadata(terminal.folder.path().join(made)).unwrap().len();
        assert!(length > 0, "{made} is empty");
    }
    terminal.ran_all(Alone);
}
