//! `kill -9` of burstlet: alone amid a scale-out, and the leader of two, at random moments, while workloads scale all along
//! and the pool's cloud loses answers. At last the leader is paused for longer than its lease.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use burstlet::lab::stand::Replica;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    auditor::{Delays, History, Life},
    trial::{PATIENCE, Shape, Trial, deployment, scale},
};

const KILLS_ALONE: u32 = 5;
const KILLS_OF_TWO: u32 = 15;
const PAUSES: u32 = 3;
/// Longer than the lease, so that another replica leads when the paused one wakes and believes that it still does.
const PAUSE: Duration = Duration::from_secs(14);
/// "Within seconds", where two processors carry two control planes.
const PLAIN_WITHIN: Duration = Duration::from_secs(15);

/// A small generator: the moments of the kills can be had again from the seed, if not their effects.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    async fn pause(&mut self, most: Duration) {
        let most = u64::try_from(most.as_millis()).unwrap();
        sleep(Duration::from_millis(self.below(most))).await;
    }
}

fn seed() -> u64 {
    let given = std::env::var("BURST_SEED").ok().and_then(|seed| seed.parse().ok());
    let clock = || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()) + 1;
    given.unwrap_or_else(clock)
}

/// An ungoverned Deployment that kube-scheduler must spread evenly over host names.
fn spread() -> Value {
    let mut plain = deployment("plain", None, 5);
    plain["spec"]["template"]["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "plain"}},
    }]);
    plain
}

struct Story {
    trial: Trial,
    dice: Dice,
    takeovers: Vec<Duration>,
    /// Parts of the story, by the version that they end with.
    parts: Vec<(&'static str, u64)>,
}

impl Story {
    async fn start(&self) -> Replica {
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("burst-kill.log");
        let binary = Path::new(env!("CARGO_BIN_EXE_burstlet"));
        self.trial
            .stand
            .run_process(binary, &log)
            .await
            .unwrap_or_else(|error| panic!("{error}; see {}", log.display()))
    }

    fn serve(&self, replicas: &[Replica]) {
        let ports: Vec<_> = replicas.iter().map(Replica::ports).collect();
        self.trial.stand.point_services(&ports);
    }

    /// Waits until one of these replicas leads, and tells which.
    async fn leader(&mut self, replicas: &[Replica]) -> usize {
        let leases: Api<Lease> = Api::namespaced(self.trial.client.clone(), "burstlet-system");
        let begun = Instant::now();
        loop {
            let lease = leases.get_opt("burstlet").await.unwrap();
            let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
            let leads = |replica: &Replica| holder.contains(&format!("-{}-", replica.process_id().unwrap()));
            if let Some(index) = replicas.iter().position(leads) {
                self.takeovers.push(begun.elapsed());
                return index;
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads: {holder}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// One replica, killed amid a scale-out and started again.
    async fn alone(&mut self) {
        let mut replicas = vec![self.start().await];
        self.serve(&replicas);
        for _ in 0..KILLS_ALONE {
            self.leader(&replicas).await;
            self.trial.scale("web", 2).await;
            self.dice.pause(Duration::from_secs(3)).await;
            self.trial.scale("web", 24).await;
            self.dice.pause(Duration::from_millis(1500)).await;
            replicas[0].kill();
            self.dice.pause(Duration::from_secs(1)).await;
            replicas[0] = self.start().await;
            self.serve(&replicas);
        }
        self.parts.push(("one replica killed", self.trial.auditor.version()));
        // The rest of the story has two of its own.
        replicas[0].kill();
    }

    /// Two replicas, whose leader is killed again and again.
    async fn two(&mut self) -> Vec<Replica> {
        let mut replicas = vec![self.start().await, self.start().await];
        self.serve(&replicas);
        self.parts.push(("changing from one to two", self.trial.auditor.version()));
        for _ in 0..KILLS_OF_TWO {
            let leader = self.leader(&replicas).await;
            self.dice.pause(Duration::from_secs(4)).await;
            replicas[leader].kill();
            self.dice.pause(Duration::from_secs(1)).await;
            replicas[leader] = self.start().await;
            self.serve(&replicas);
        }
        self.parts.push(("the leader of two killed", self.trial.auditor.version()));
        for _ in 0..PAUSES {
            let leader = self.leader(&replicas).await;
            self.dice.pause(Duration::from_secs(2)).await;
            signal(&replicas[leader], "-STOP");
            sleep(PAUSE).await;
            signal(&replicas[leader], "-CONT");
        }
        self.leader(&replicas).await;
        self.parts.push(("the leader of two paused", self.trial.auditor.version()));
        replicas
    }

    /// How many pods of governed workloads were created without the gate, part by part.
    fn tell_gateless(&self, history: &History) {
        let mut from = 0;
        for (part, to) in &self.parts {
            let is_in = |life: &&Life| life.app != "plain" && (from..*to).contains(&life.created.version);
            let created: Vec<_> = history.lives.values().filter(is_in).collect();
            let gateless = created.iter().filter(|life| !life.was_gated).count();
            self.trial.say(format!("{part}: {} governed pods created, {gateless} without the gate", created.len()));
            from = *to;
        }
    }
}

fn signal(replica: &Replica, signal: &str) {
    let id = replica.process_id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

/// Scales the workloads at random, until it is dropped.
async fn churn(client: kube::Client, mut dice: Dice) {
    let deployments = Api::default_namespaced(client);
    loop {
        let workloads = [("web", 0, 24), ("shop", 0, 16), ("share", 0, 20), ("plain", 3, 15)];
        let (name, least, most) = workloads[usize::try_from(dice.below(4)).unwrap()];
        let replicas = usize::try_from(least + dice.below(most - least + 1)).unwrap();
        scale(&deployments, name, replicas).await;
        dice.pause(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_burstlet_breaks_no_promise() {
    let seed = seed();
    let trial = Trial::begin("kill", &Shape { lost_answers_per_mille: 100, ..Shape::default() }).await;
    trial.say(format!("BURST_SEED={seed}"));
    let mut story = Story { trial, dice: Dice(seed), takeovers: Vec::new(), parts: Vec::new() };
    let first = story.start().await;
    story.serve(std::slice::from_ref(&first));
    let share = deployment("share", Some("30%"), 10);
    for workload in [deployment("web", Some("3"), 6), deployment("shop", Some("5"), 6), share, spread()] {
        story.trial.apply(&workload).await;
    }
    story.trial.until_ready("web", 3, 3).await;
    story.trial.until_ready("shop", 5, 1).await;
    drop(first);

    let begun = Instant::now();
    let churning = tokio::spawn(churn(story.trial.client.clone(), Dice(seed.rotate_left(17) | 1)));
    story.alone().await;
    let replicas = story.two().await;
    churning.abort();
    let _ = churning.await;
    let kills = KILLS_ALONE + KILLS_OF_TWO + 2;
    let takeovers = Delays::of(std::mem::take(&mut story.takeovers).into_iter());
    story.trial.say(format!("{kills} kills and {PAUSES} pauses in {:.1?}; ready to led, {takeovers}", begun.elapsed()));

    // Those created while nobody answered the webhook are on real nodes for good: a clean end begins without them.
    for name in ["web", "shop", "share"] {
        story.trial.scale(name, 0).await;
        story.trial.until_ready(name, 0, 0).await;
    }
    for (name, replicas) in [("web", 12), ("shop", 8), ("share", 10), ("plain", 10)] {
        story.trial.scale(name, replicas).await;
    }
    story.trial.until_ready("web", 3, 9).await;
    story.trial.until_ready("shop", 5, 3).await;
    story.trial.until_ready("share", 3, 7).await;
    story.trial.until_ready("plain", 10, 0).await;
    let history = story.trial.auditor.history();
    story.tell_gateless(&history);
    let plain = Delays::to_bound(&history, "plain");
    story.trial.say(format!("ungoverned pods, wanted to created, {}", Delays::to_created(&history, "plain")));
    story.trial.say(format!("ungoverned pods with hostname spread, created to bound, {plain}"));
    assert!(plain.longest() < PLAIN_WITHIN, "{plain}");
    for (app, times) in ["web", "shop", "share"].map(|app| (app, Delays::to_bound(&history, app))) {
        story.trial.say(format!("{app}, created to bound, {times}"));
    }
    let verdict = story.trial.settle().await;
    drop(replicas);
    story.trial.end(verdict).await;
}
