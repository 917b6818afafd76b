//! The names of five virtual-node systems, as their users have typed them (`seeds/`), against `docs/seeds.md`: every one has
//! a row there, every row has one here, and what a row says is looked up where it says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use burstlet::{
    api::{
        document::Document,
        pool::{
            PoolSpec, Provider as PoolProvider,
            alibaba_eci::AlibabaEci,
            import::{Imported, Options, import},
            kingsoft_kci::KingsoftKci,
        },
    },
    kubelet::{Capacity, NodeTemplate},
    lab::emulator::{Cloud, Emulator, Ground, Options as EmulatorOptions, alibaba_eci, kingsoft_kci},
    provider::{
        InstanceState, Provider, ProviderError,
        clouds::{alibaba_eci::Eci, credentials::Held, fleet::Pace, kingsoft_kci::Kci},
    },
};
use burstlet_engine::policy::opt_in;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::api::resource::Quantity};
use serde_json::{Value, json};

use crate::{
    keys::Fixed,
    trial::{owner, prompt},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A system's files.
struct Seed {
    /// Such as `003`.
    number: String,
    folder: PathBuf,
}

fn seeds() -> Vec<Seed> {
    let folders = fs::read_dir(root().join("tests/clouds/seeds")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders = folders.collect::<Vec<_>>();
    folders.sort();
    let number = |folder: &Path| folder.file_name().unwrap().to_str().unwrap()[..3].to_owned();
    folders.into_iter().map(|folder| Seed { number: number(&folder), folder }).collect()
}

fn seed(name: &str) -> Seed {
    seeds().into_iter().find(|seed| seed.folder.ends_with(name)).unwrap()
}

impl Seed {
    fn documents_of(&self, file: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        serde_saphyr::from_multiple(&text).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    fn documents(&self) -> Vec<Value> {
        let files = self.files().into_iter().filter(|name| name != "commands.txt");
        files.flat_map(|file| self.documents_of(&file)).collect()
    }

    fn commands(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.folder.join("commands.txt")).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    }

    fn imported(&self) -> Imported {
        let options =
            Options { region: (self.number == "000").then(|| "cn-hangzhou".to_owned()), ..Options::default() };
        import(&self.documents(), &options).unwrap()
    }

    fn spec(&self) -> PoolSpec {
        let Ok(Document::Pool(_, spec)) = Document::read(&self.imported().pool) else { panic!("no pool") };
        *spec
    }

    /// Pods, those of templates included.
    fn pods(&self, file: &str) -> Vec<Pod> {
        let pod = |document: Value| match document["kind"].as_str().unwrap() {
            "Pod" => Some(document),
            "Deployment" if document["metadata"]["namespace"].is_null() => Some(document["spec"]["template"].clone()),
            _ => None,
        };
        let pods = self.documents_of(file).into_iter().filter_map(pod);
        pods.map(|pod| serde_json::from_value(pod).unwrap()).collect()
    }
}

/// Kind and name of everything that a user has typed.
type Names = BTreeSet<(&'static str, String)>;

fn keys(object: &Value) -> impl Iterator<Item = String> {
    object.as_object().into_iter().flatten().map(|(key, _)| key.clone())
}

/// Walks through a manifest, wherever names may stand.
fn names_in(document: &Value, names: &mut Names) {
    let mut add = |kind: &'static str, all: &mut dyn Iterator<Item = String>| {
        names.extend(all.map(|name| (kind, name)));
    };
    match document {
        Value::Object(fields) => {
            for (field, value) in fields {
                match field.as_str() {
                    "annotations" => add("annotation", &mut keys(value)),
                    "labels" | "matchLabels" | "nodeSelector" => add("label", &mut keys(value)),
                    "matchExpressions" | "tolerations" => {
                        let all = value.as_array().unwrap().iter();
                        add("label", &mut all.map(|one| one["key"].as_str().unwrap().to_owned()));
                    }
                    "env" => {
                        let all = value.as_array().unwrap().iter();
                        add("variable", &mut all.map(|one| one["name"].as_str().unwrap().to_owned()));
                    }
                    "args" => {
                        let all = value.as_array().unwrap().iter().map(|word| word.as_str().unwrap());
                        let flags = all.filter(|word| word.starts_with("--"));
                        add("flag", &mut flags.map(|flag| flag.split('=').next().unwrap().to_owned()));
                    }
                    "data" | "stringData" => add("key", &mut keys(value)),
                    _ => {}
                }
            }
            fields.values().for_each(|value| names_in(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| names_in(item, names)),
        _ => {}
    }
}

/// Flags, labels and keys of a command, and the words before them.
fn names_of(command: &[String], names: &mut Names) {
    let words = command.iter().filter(|word| !word.starts_with('-')).map(String::as_str);
    names.insert(("command", words.collect::<Vec<_>>().join(" ")));
    for word in command {
        match word.split_once('=') {
            Some(("--from-literal", pair)) => {
                names.insert(("key", pair.split('=').next().unwrap().to_owned()));
            }
            Some((label, _)) if !label.starts_with('-') => drop(names.insert(("label", label.to_owned()))),
            _ => {}
        }
        if word.starts_with('-') {
            names.insert(("flag", word.split('=').next().unwrap().to_owned()));
        }
    }
}

/// All names, each with the systems that have it.
fn typed() -> BTreeMap<(&'static str, String), BTreeSet<String>> {
    let mut typed = BTreeMap::<_, BTreeSet<String>>::new();
    for seed in seeds() {
        let mut names = Names::new();
        for document in seed.documents() {
            if document["kind"] == "vnode" {
                let contexts = document["contexts"].as_array().unwrap().iter();
                let all = keys(&document).chain(contexts.flat_map(keys));
                names.extend(all.map(|key| ("key", key)));
            } else {
                names_in(&document, &mut names);
            }
        }
        seed.commands().iter().for_each(|command| names_of(command, &mut names));
        for name in names {
            typed.entry(name).or_default().insert(seed.number.clone());
        }
    }
    typed
}

/// A row of the page.
#[derive(Debug)]
struct Row {
    kind: &'static str,
    name: String,
    seeds: BTreeSet<String>,
    here: String,
    proofs: Vec<String>,
}

fn rows() -> Vec<Row> {
    let page = fs::read_to_string(root().join("docs/seeds.md")).unwrap();
    let kinds = [
        ("Variables", "variable"),
        ("Arguments and flags", "flag"),
        ("Labels, selectors, tolerations and taints", "label"),
        ("Annotations", "annotation"),
        ("Keys of ConfigMaps, Secrets and files", "key"),
        ("Commands", "command"),
    ];
    let mut rows = Vec::new();
    for (title, kind) in kinds {
        let section = page.split(&format!("\n## {title}\n")).nth(1).unwrap_or_else(|| panic!("no section {title}"));
        let section = section.split("\n## ").next().unwrap();
        for line in section.lines().filter(|line| line.starts_with("| `")) {
            let line = line.replace("\\|", "/");
            let cells = line.split('|').map(str::trim).collect::<Vec<_>>();
            assert_eq!(cells.len(), 7, "{line}");
            let proofs = cells[5].split("; ").map(|proof| proof.trim_matches('`').to_owned()).collect();
            let seeds = cells[2].split_whitespace().map(str::to_owned).collect();
            rows.push(Row {
                kind,
                name: cells[1].trim_matches('`').to_owned(),
                seeds,
                here: cells[3].to_owned(),
                proofs,
            });
        }
    }
    rows
}

#[test]
fn every_name_of_the_five_systems_has_a_row_and_every_row_a_name() {
    let rows = rows();
    let mut unmatched = typed();
    let mut told = Vec::new();
    for row in &rows {
        let is_row = |(kind, name): &(&'static str, String)| {
            // A command's row has its first words, but for what stands between them as an argument of a flag.
            let words = || row.name.split(' ').all(|word| name.split(' ').any(|other| other == word));
            *kind == row.kind && (*name == row.name || row.kind == "command" && words())
        };
        let found =
            unmatched.extract_if(.., |name, _| is_row(name)).flat_map(|(_, seeds)| seeds).collect::<BTreeSet<_>>();
        if found != row.seeds {
            told.push(format!("{} {}: the page says {:?}, the files {found:?}", row.kind, row.name, row.seeds));
        }
    }
    told.extend(unmatched.into_iter().map(|((kind, name), seeds)| format!("{kind} {name} of {seeds:?} has no row")));
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// What came of a system's manifests on the emulated cloud.
struct Played {
    number: String,
    imported: Imported,
    /// What each instance was asked for with.
    asked: Vec<BTreeMap<String, String>>,
    refusals: Vec<String>,
    _emulator: Emulator,
}

fn layout() -> alibaba_eci::Layout {
    let vswitches = ["vsw-bp1a=cn-hangzhou-h=10.104.0.0/16", "vsw-bp1b=cn-hangzhou-i=10.105.0.0/16"];
    alibaba_eci::Layout {
        region: "cn-hangzhou".to_owned(),
        vswitches: vswitches.map(|text| text.parse().unwrap()).to_vec(),
        security_groups: BTreeMap::new(),
    }
}

async fn emulate(spec: &PoolSpec) -> (Arc<Ground>, Arc<dyn Cloud>, Emulator) {
    emulate_with(spec, "testid:testsecret").await
}

/// A cloud that knows this key alone.
async fn emulate_with(spec: &PoolSpec, key: &str) -> (Arc<Ground>, Arc<dyn Cloud>, Emulator) {
    let ground = Arc::new(Ground::new(prompt()));
    let key = key.parse().unwrap();
    let cloud: Arc<dyn Cloud> = match &spec.provider {
        PoolProvider::AlibabaEci(_) => Arc::new(alibaba_eci::Eci::new(ground.clone(), [key], layout())),
        _ => Arc::new(kingsoft_kci::Kci::new(ground.clone(), vec![key])),
    };
    let emulator = Emulator::start(&EmulatorOptions::default(), ground.clone(), cloud.clone()).await.unwrap();
    (ground, cloud, emulator)
}

fn eci(settings: &AlibabaEci, address: &str) -> Arc<Eci> {
    let settings = AlibabaEci { endpoint: Some(address.to_owned()), ..settings.clone() };
    let keys = Fixed::new(&[("access-key-id", "testid"), ("access-key-secret", "testsecret")]);
    Arc::new(Eci::with_keys(settings, Arc::new(keys)).unwrap())
}

fn kci(settings: &KingsoftKci, address: &str) -> Kci {
    let settings = KingsoftKci { endpoint: Some(address.to_owned()), ..settings.clone() };
    let keys = Fixed::new(&[("KCI_ACCESS_KEY", "testid"), ("KCI_SECRET_KEY", "testsecret")]);
    Kci::with_keys(settings, Arc::new(keys), Pace::default()).unwrap()
}

fn provider(spec: &PoolSpec, address: &str) -> Arc<dyn Provider> {
    match &spec.provider {
        PoolProvider::AlibabaEci(settings) => eci(settings, address),
        PoolProvider::KingsoftKci(settings) => Arc::new(kci(settings, address)),
        other => panic!("{other:?}"),
    }
}

async fn play(seed: &Seed) -> Played {
    let spec = seed.spec();
    let (ground, cloud, emulator) = emulate(&spec).await;
    let provider = provider(&spec, &emulator.address());
    let mut refusals = Vec::new();
    for (number, pod) in seed.pods("refused.yaml").into_iter().enumerate() {
        match provider.create(&owner(&format!("r-{number}")), &pod).await {
            Err(ProviderError::Invalid(text)) => refusals.push(text),
            other => panic!("{other:?}"),
        }
    }
    assert!(ground.calls().is_empty(), "a pod that cannot run was asked for");
    let mut asked = Vec::new();
    for file in seed.files().into_iter().filter(|file| !["commands.txt", "refused.yaml"].contains(&file.as_str())) {
        for (number, pod) in seed.pods(&file).into_iter().enumerate() {
            let instance = provider.create(&owner(&format!("{}-{number}", &file[..3])), &pod).await.unwrap();
            asked.push(cloud.asked(&instance.id.0).unwrap());
        }
    }
    Played { number: seed.number.clone(), imported: seed.imported(), asked, refusals, _emulator: emulator }
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null)
}

/// Whether parameter `name`, in which `*` is any number, has `value`.
fn has(asked: &BTreeMap<String, String>, name: &str, value: &str) -> bool {
    let parts = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    let wanted = parts(name);
    let is_name = |key: &str| {
        let key = parts(key);
        key.len() == wanted.len() && wanted.iter().zip(&key).all(|(wanted, part)| wanted == "*" || wanted == part)
    };
    asked.iter().any(|(key, found)| found == value && is_name(key))
}

/// Whether a test of this name stands anywhere.
fn is_test(name: &str) -> bool {
    let wanted = format!("fn {name}()");
    let mut folders = ["src", "tests", "engine"].map(|folder| root().join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs")
                && fs::read_to_string(&path).unwrap().contains(&wanted)
            {
                return true;
            }
        }
    }
    false
}

fn is_of_every_node(name: &str) -> bool {
    let capacity = Capacity { cpu: Quantity("1".into()), memory: Quantity("1Gi".into()), pods: 1 };
    let node = NodeTemplate::virtual_node("eci", "alibabacloud", 0, capacity);
    let taint = &node.taints[0];
    let value = match name {
        "kubectl get" => return node.name == "burstlet-eci-0",
        "VKUBELET_TAINT_KEY" => return taint.key == "virtual-kubelet.io/provider",
        "VKUBELET_TAINT_VALUE" => return taint.value.as_deref() == Some("alibabacloud"),
        "VKUBELET_TAINT_EFFECT" => return taint.effect == "NoSchedule",
        "beta.kubernetes.io/os" => "linux",
        "kubernetes.io/role" => "agent",
        "type" => "virtual-kubelet",
        key => return taint.key == key,
    };
    node.labels.get(name).map(String::as_str) == Some(value)
}

fn holds(row: &Row, proof: &str, played: &[Played]) -> bool {
    let (kind, text) = proof.split_once(": ").unwrap_or((proof, ""));
    let mut of_row = played.iter().filter(|played| row.seeds.contains(&played.number));
    match kind {
        "field" => of_row.any(|played| {
            let provider = played.imported.pool["spec"]["provider"].as_object().unwrap();
            provider.values().any(|settings| !at(settings, text).is_null())
        }),
        "pool" => of_row.any(|played| !at(&played.imported.pool["spec"], text).is_null()),
        "request" => {
            let (name, value) = text.split_once('=').unwrap();
            of_row.any(|played| played.asked.iter().any(|asked| has(asked, name, value)))
        }
        "told" => of_row.any(|played| played.imported.remarks.iter().any(|remark| remark.starts_with(&row.name))),
        "refused" => of_row
            .any(|played| played.refusals.iter().any(|refusal| refusal.contains(&row.name) && refusal.contains(text))),
        "mark" => opt_in::TABLE.iter().any(|mark| mark.key == row.name),
        "node" => is_of_every_node(&row.name),
        "test" => is_test(text),
        "own" => !text.is_empty(),
        other => panic!("{}: no proof is called {other:?}", row.name),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_says_of_each_name_is_so() {
    let mut played = Vec::new();
    for seed in seeds() {
        played.push(play(&seed).await);
    }
    let mut wrong = Vec::new();
    for row in rows() {
        let wrongs = row.proofs.iter().filter(|proof| !holds(&row, proof, &played));
        wrong.extend(wrongs.map(|proof| format!("{} {}: {proof:?} does not hold", row.kind, row.name)));
        // What is not carried over says why.
        let is_refused = row.proofs.iter().all(|proof| proof.starts_with("told") || proof.starts_with("refused"));
        if is_refused && row.here.is_empty() {
            wrong.push(format!("{} {}: nothing is said of it", row.kind, row.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_reads_the_add_ons_secret() {
    let seed = seed("000-eci-registered-cluster");
    let documents = seed.documents();
    let secret = documents.iter().find(|document| document["kind"] == "Secret").unwrap();
    assert_eq!(
        seed.imported().pool["spec"]["provider"]["alibabaEci"]["credentials"]["secretRef"]["name"],
        secret["metadata"]["name"]
    );
    let spec = seed.spec();
    let PoolProvider::AlibabaEci(settings) = &spec.provider else { panic!("{spec:?}") };
    let (_, _, emulator) = emulate_with(&spec, "LTAI0000:0000").await;
    let held = Arc::new(Held::default());
    let settings = AlibabaEci { endpoint: Some(emulator.address()), ..(**settings).clone() };
    let eci = Eci::with_keys(settings, held.clone()).unwrap();
    let refused = eci.list("lab").await.unwrap_err();
    assert!(matches!(refused, ProviderError::Unauthorized(_)), "before the Secret is read: {refused}");
    held.take(&|name| Some(secret["stringData"][name].as_str()?.to_owned()));
    eci.list("lab").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_keys_of_a_config_map_are_read_by_their_names() {
    let seed = seed("003-kci-temporary-keys");
    let spec = seed.spec();
    let PoolProvider::KingsoftKci(settings) = &spec.provider else { panic!("{spec:?}") };
    let (_, _, emulator) = emulate(&spec).await;
    let documents = seed.documents();
    let map = documents.iter().find(|document| document["kind"] == "ConfigMap").unwrap();
    let held = Arc::new(Held::default());
    let settings = KingsoftKci { endpoint: Some(emulator.address()), ..(**settings).clone() };
    let kci = Kci::with_keys(settings, held.clone(), Pace::default()).unwrap();
    held.take(&|name| Some(map["data"][name].as_str()?.to_owned()));
    let refused = kci.list("lab").await.unwrap_err();
    assert!(matches!(refused, ProviderError::Unauthorized(_)), "the emulator does not know the keys: {refused}");
    // They are temporary: the next ones are taken up without a restart.
    let next = json!({"ak": "testid", "sk": "testsecret"});
    held.take(&|name| Some(next[name].as_str()?.to_owned()));
    kci.list("lab").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_settings_hold_for_new_pods_only() {
    let spec = seed("000-eci-registered-cluster").spec();
    let PoolProvider::AlibabaEci(settings) = &spec.provider else { panic!("{spec:?}") };
    let (ground, cloud, emulator) = emulate(&spec).await;
    let pod = crate::trial::pod();
    let before = eci(settings, &emulator.address()).create(&owner("before"), &pod).await.unwrap();
    let changed = AlibabaEci { security_group_id: "sg-of-tomorrow".to_owned(), ..(**settings).clone() };
    let provider = eci(&changed, &emulator.address());
    assert_eq!(provider.list("lab").await.unwrap().len(), 1, "what ran before is adopted");
    let after = provider.create(&owner("after"), &pod).await.unwrap();
    let group = |id: &str| cloud.asked(id).unwrap()["SecurityGroupId"].clone();
    assert_eq!((group(&before.id.0), group(&after.id.0)), ("sg-bp1".to_owned(), "sg-of-tomorrow".to_owned()));
    assert_eq!(ground.calls()["CreateContainerGroup"].arrived, 2);
}

/// The lines of a section's blocks in this language.
fn blocks(section: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

fn burstlet(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_burstlet")).args(args).current_dir(root()).output().unwrap();
    let told = String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{args:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_each_system_follows_its_example() {
    let page = fs::read_to_string(root().join("docs/from-eci-and-kci.md")).unwrap();
    let sections = page.split("\n## ").skip(1).collect::<Vec<_>>();
    let numbers = sections.iter().map(|section| &section[..3]).collect::<Vec<_>>();
    assert_eq!(numbers, ["000", "001", "002", "003", "004"]);
    for section in sections {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        let mut pools = Vec::new();
        let lines = blocks(section, "sh").concat();
        for line in lines.lines().filter(|line| line.starts_with("burstlet pool import")) {
            let args = line.split(" | ").next().unwrap().split(' ').skip(1).collect::<Vec<_>>();
            let written = burstlet(&args);
            let Ok(Document::Pool(name, spec)) = Document::read(&serde_saphyr::from_str(&written).unwrap()) else {
                panic!("{written}")
            };
            if !pools.iter().any(|(other, _)| *other == name) {
                pools.push((name, spec));
                files.push(written);
            }
        }
        assert!(!pools.is_empty(), "{section}");
        files.extend(blocks(section, "yaml"));
        let paths = (0..files.len()).map(|number| folder.path().join(format!("{number}.yaml"))).collect::<Vec<_>>();
        paths.iter().zip(&files).for_each(|(path, text)| fs::write(path, text).unwrap());
        let paths = paths.iter().map(|path| path.to_str().unwrap());
        burstlet(&["policy", "check"].into_iter().chain(paths).collect::<Vec<_>>());
        for (name, spec) in pools {
            runs_a_pod(&name, &spec).await;
        }
    }
}

/// A pod of the pool runs at the emulated cloud, and goes.
async fn runs_a_pod(name: &str, spec: &PoolSpec) {
    let (_, _, emulator) = emulate(spec).await;
    let provider = provider(spec, &emulator.address());
    let owner = owner(name);
    provider.create(&owner, &crate::trial::pod()).await.unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !provider.list("lab").await.unwrap().iter().any(|one| one.state == InstanceState::Running) {
        assert!(Instant::now() < deadline, "the pod of {name} does not run");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    provider.delete(&owner, Duration::ZERO).await.unwrap();
}
