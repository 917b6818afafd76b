//! Random scenarios: every field, near the values where rules change, sometimes one that the API server refuses.

use serde_json::{Map, Value, json};

const TARGETS: [&str; 16] =
    ["100m", "1", "2", "0.5", "50m", "1500m", "10", "1k", "1Ki", "100Mi", "1e2", "0.1234", "1n", "3u", "64Mi", "1.5Gi"];

/// A generator of random numbers (splitmix64) and of what is made of them.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn between(&mut self, least: i64, most: i64) -> i64 {
        least + i64::try_from(self.below(u64::try_from(most - least + 1).unwrap())).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }

    /// Puts a value of `of` into `object`, in so many percent of all cases.
    fn maybe(&mut self, object: &mut Map<String, Value>, percent: u64, name: &str, of: &[Value]) {
        if self.chance(percent) {
            let value = self.pick(of);
            object.insert(name.to_owned(), value);
        }
    }

    /// A text that is a quantity, or nearly.
    pub(crate) fn quantity(&mut self) -> String {
        const SUFFIXES: [&str; 27] = [
            "", "", "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E-3",
            "e+2", "e-10", "e18", "e", "K", "mi", "e2.5",
        ];
        let digits = |dice: &mut Self, most: u64| {
            let count = dice.below(most + 1);
            (0..count).map(|_| char::from(b"00123456789"[usize::try_from(dice.below(11)).unwrap()])).collect::<String>()
        };
        let sign = self.pick(&["", "", "", "-", "+"]);
        let most = self.pick(&[3, 6, 18, 24]);
        let whole = digits(self, most);
        let fraction = if self.chance(50) { format!(".{}", digits(self, 12)) } else { String::new() };
        format!("{sign}{whole}{fraction}{}", self.pick(&SUFFIXES))
    }

    pub(crate) fn scenario(&mut self) -> Value {
        let mut scenario = Map::new();
        let scale_to_zero = self.chance(40);
        if scale_to_zero || self.chance(10) {
            scenario.insert("featureGates".to_owned(), json!({"HPAScaleToZero": scale_to_zero}));
        }
        if self.chance(15) {
            let gates = scenario.entry("featureGates").or_insert(json!({}));
            gates["HPAConfigurableTolerance"] = json!(self.chance(50));
        }
        self.maybe(&mut scenario, 20, "tolerance", &[json!(0), json!(0.05), json!(0.2), json!(0.5), json!(0.001)]);
        self.maybe(&mut scenario, 30, "cpuInitializationPeriodSeconds", &[json!(0), json!(60), json!(120), json!(600)]);
        self.maybe(&mut scenario, 30, "initialReadinessDelaySeconds", &[json!(0), json!(10), json!(60), json!(200)]);
        let windows = [json!(0), json!(15), json!(30), json!(45), json!(60), json!(99.5)];
        self.maybe(&mut scenario, 60, "downscaleStabilizationSeconds", &windows);
        self.maybe(&mut scenario, 30, "metricWindowSeconds", &[json!(0), json!(15), json!(60), json!(10.5)]);
        self.maybe(&mut scenario, 15, "syncPeriodSeconds", &[json!(10), json!(15), json!(30), json!(7.5)]);
        scenario.insert("hpa".to_owned(), self.hpa(scale_to_zero));
        if self.chance(25) {
            self.close_loop(&mut scenario, scale_to_zero);
        } else {
            let steps = self.steps(scale_to_zero);
            scenario.insert("steps".to_owned(), steps);
        }
        Value::Object(scenario)
    }

    fn hpa(&mut self, scale_to_zero: bool) -> Value {
        let mut spec = Map::new();
        let min = if scale_to_zero { self.between(0, 2) } else { self.between(1, 4) };
        if self.chance(70) {
            spec.insert("minReplicas".to_owned(), json!(min));
        }
        spec.insert("maxReplicas".to_owned(), json!(self.between(min.max(1), 30)));
        let metrics = self.below(4);
        let mut metrics = (0..metrics).map(|_| self.metric()).collect::<Vec<_>>();
        if min == 0 && self.chance(90) {
            metrics.push(self.whole_metric());
        }
        if !metrics.is_empty() || self.chance(50) {
            spec.insert("metrics".to_owned(), json!(metrics));
        }
        if self.chance(60) {
            let mut behavior = Map::new();
            for direction in ["scaleUp", "scaleDown"] {
                if self.chance(70) {
                    let rules = self.rules();
                    behavior.insert(direction.to_owned(), rules);
                }
            }
            spec.insert("behavior".to_owned(), Value::Object(behavior));
        }
        let mut spec = Value::Object(spec);
        if self.chance(6) {
            self.spoil(&mut spec);
        }
        if self.chance(20) { json!({"spec": spec}) } else { spec }
    }

    /// Makes something in the spec that may be invalid.
    fn spoil(&mut self, spec: &mut Value) {
        let odd = [json!(0), json!(-1), json!(1), json!(1801), json!(3601), json!(i32::MAX), json!(null)];
        let odd_text =
            [json!(""), json!("Min"), json!("Pods"), json!("External"), json!("a/b"), json!(".."), json!("A_")];
        let odd_quantity =
            [json!("0"), json!("-1"), json!("-0.5"), json!(0), json!(-3), json!("0.0000000001"), json!(2.5)];
        let mut paths = Vec::new();
        leaves(spec, String::new(), &mut paths);
        let path = self.pick(&paths);
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_quantity = matches!(name, "value" | "averageValue" | "tolerance");
        let leaf = spec.pointer_mut(&path).unwrap();
        *leaf = match leaf {
            Value::Number(_) if path.contains("policies") || !is_quantity => self.pick(&odd),
            Value::String(_) if !is_quantity => self.pick(&odd_text),
            Value::Array(_) => json!([]),
            _ if is_quantity => self.pick(&odd_quantity),
            _ => return,
        };
        if self.chance(20) && !spec["metrics"][0].is_null() {
            let other = self.metric();
            for (name, value) in other.as_object().unwrap().iter().filter(|(name, _)| *name != "type") {
                spec["metrics"][0][name] = value.clone();
            }
        }
    }

    fn rules(&mut self) -> Value {
        let mut rules = Map::new();
        let windows = [json!(0), json!(15), json!(20), json!(30), json!(60), json!(120), json!(300)];
        self.maybe(&mut rules, 50, "stabilizationWindowSeconds", &windows);
        self.maybe(&mut rules, 50, "selectPolicy", &[json!("Max"), json!("Min"), json!("Min"), json!("Disabled")]);
        self.maybe(&mut rules, 30, "tolerance", &[json!("0"), json!("0.05"), json!("200m"), json!(0.5), json!("0.7")]);
        if self.chance(70) {
            let policies = (0..=self.below(3)).map(|_| {
                let period = self.pick(&[15, 15, 30, 30, 60, 100, 10, 1]);
                let percent = self.chance(50);
                let value = if percent { self.pick(&[1, 10, 50, 100, 200, 900]) } else { self.pick(&[1, 2, 3, 5, 10]) };
                let value = if self.chance(2) { i32::MAX } else { value };
                json!({"type": if percent { "Percent" } else { "Pods" }, "value": value, "periodSeconds": period})
            });
            let policies = policies.collect::<Vec<_>>();
            rules.insert("policies".to_owned(), json!(policies));
        }
        Value::Object(rules)
    }

    fn metric(&mut self) -> Value {
        match self.below(10) {
            0..5 => {
                let name = self.pick(&["cpu", "cpu", "cpu", "memory", "memory", "ephemeral-storage"]);
                let target = self.resource_target(name);
                json!({"type": "Resource", "resource": {"name": name, "target": target}})
            }
            5 => {
                let name = self.pick(&["cpu", "cpu", "memory"]);
                let container = self.pick(&["app", "app", "app", "sidecar"]);
                let target = self.resource_target(name);
                let source = json!({"name": name, "container": container, "target": target});
                json!({"type": "ContainerResource", "containerResource": source})
            }
            6..8 => {
                let target = json!({"type": "AverageValue", "averageValue": self.pick(&TARGETS)});
                let metric = self.identifier(&["rps", "depth"]);
                json!({"type": "Pods", "pods": {"metric": metric, "target": target}})
            }
            _ => self.whole_metric(),
        }
    }

    fn resource_target(&mut self, name: &str) -> Value {
        if self.chance(65) {
            let kind = if self.chance(95) { "Utilization" } else { "Value" };
            json!({"type": kind, "averageUtilization": self.pick(&[1, 30, 50, 60, 75, 80, 100, 150, 200])})
        } else {
            let values =
                if name == "cpu" { &["100m", "0.1", "75m", "250m"] } else { &["100Mi", "64M", "1e8", "104857600"] };
            json!({"type": "AverageValue", "averageValue": self.pick(values)})
        }
    }

    /// A metric that belongs to no pod.
    fn whole_metric(&mut self) -> Value {
        let quantity = self.pick(&TARGETS);
        let target = match self.below(10) {
            0..5 => json!({"type": "AverageValue", "averageValue": quantity}),
            5..9 => json!({"type": "Value", "value": quantity}),
            _ => json!({"type": "Utilization", "averageValue": quantity}),
        };
        if self.chance(60) {
            let metric = self.identifier(&["queue", "lag"]);
            json!({"type": "External", "external": {"metric": metric, "target": target}})
        } else {
            let object = json!({"apiVersion": self.pick(&["v1", "networking.k8s.io/v1", ""]), "kind": "Ingress", "name": "main"});
            let metric = self.identifier(&["hits", "lag"]);
            json!({"type": "Object", "object": {"describedObject": object, "metric": metric, "target": target}})
        }
    }

    fn identifier(&mut self, names: &[&str]) -> Value {
        let name = self.pick(names);
        let selector = match self.below(20) {
            0 => json!({}),
            1 => json!({"matchLabels": {"b": "2", "a": "1"}}),
            2 => json!({"matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]}),
            3 => json!({"matchExpressions": [{"key": "k", "operator": self.pick(&["Exists", "Gt", "In", "NotIn"])}]}),
            4 => json!({"matchLabels": {"-a": "1"}}),
            5 => json!({"matchExpressions": [{"key": "a/b/c", "operator": "Exists", "values": ["é"]}]}),
            _ => return json!({"name": name}),
        };
        json!({"name": name, "selector": selector})
    }

    fn steps(&mut self, scale_to_zero: bool) -> Value {
        let count = self.between(1, 24);
        let own_times = self.chance(40);
        let mut t = f64::from(i32::try_from(self.between(-100, 100)).unwrap());
        let mut load = 100;
        let mut replicas = self.between(1, 12);
        let mut steps = Vec::new();
        for index in 0..count {
            let mut step = Map::new();
            if own_times {
                t += self.pick(&[5.0, 10.0, 15.0, 15.0, 15.0, 20.0, 30.0, 7.5, 60.0, 299.0, 300.0]);
                step.insert("t".to_owned(), whole(t));
            }
            if index == 0 || self.chance(8) {
                replicas = if self.chance(10) { self.pick(&[0, 0, 40]) } else { self.between(1, 12) };
                step.insert("currentReplicas".to_owned(), json!(replicas));
            }
            self.maybe(&mut step, 8, "statusReplicas", &[json!(0), json!(1), json!(5), json!(20)]);
            if index == 0 || self.chance(75) {
                load = (load + self.between(-60, 60)).clamp(5, 400);
                let now = if own_times { t } else { f64::from(i32::try_from(index).unwrap()) * 15.0 };
                let pods = self.pods(now, replicas, load);
                step.insert("pods".to_owned(), pods);
            }
            if index == 0 || self.chance(50) {
                let external = self.others(&["queue", "lag"], scale_to_zero, true);
                step.insert("external".to_owned(), external);
            }
            if index == 0 || self.chance(50) {
                let object = self.others(&["hits", "lag"], scale_to_zero, false);
                step.insert("object".to_owned(), object);
            }
            if self.chance(4) {
                let hpa = self.hpa(scale_to_zero);
                step.insert("hpa".to_owned(), hpa);
            }
            steps.push(Value::Object(step));
        }
        Value::Array(steps)
    }

    /// A closed loop, sometimes with steps beside it.
    fn close_loop(&mut self, scenario: &mut Map<String, Value>, scale_to_zero: bool) {
        let mut demand = self.between(0, 1_500);
        let syncs = self.between(1, 40);
        let demands = (0..syncs).map(|_| {
            let jump = if self.chance(15) { 1_500 } else { 60 };
            demand = (demand + self.between(-jump, jump)).max(0);
            demand
        });
        let demands = demands.collect::<Vec<_>>();
        let mut closed = Map::new();
        closed.insert("initialReplicas".to_owned(), json!(self.between(0, 12)));
        closed.insert("demandMilli".to_owned(), json!(demands));
        closed.insert("cpuRequestMilli".to_owned(), json!(self.pick(&[100, 100, 250])));
        self.maybe(&mut closed, 20, "initialAgeSeconds", &[json!(0), json!(20), json!(10_000)]);
        self.maybe(&mut closed, 70, "readyDelaySeconds", &[json!(0), json!(10), json!(15), json!(31), json!(100)]);
        self.maybe(&mut closed, 40, "maxCpuMilliPerPod", &[json!(0), json!(80), json!(150), json!(400)]);
        self.maybe(&mut closed, 30, "unreadyMetricMissing", &[json!(true), json!(false)]);
        scenario.insert("closedLoop".to_owned(), Value::Object(closed));
        if self.chance(30) {
            let mut steps = self.steps(scale_to_zero);
            for step in steps.as_array_mut().unwrap() {
                let step = step.as_object_mut().unwrap();
                step.remove("pods");
                // The demand may go on after them, at times that follow from the index.
                step.remove("t");
            }
            scenario.insert("steps".to_owned(), steps);
        }
    }

    fn others(&mut self, names: &[&str], scale_to_zero: bool, lists: bool) -> Value {
        let mut others = Map::new();
        for name in names {
            let value = match self.below(12) {
                0 => json!(null),
                1 => continue,
                2 if lists => json!([]),
                3 if lists => json!([self.amount(), self.amount(), "1"]),
                4 if scale_to_zero => json!(0),
                5 if scale_to_zero => json!("0"),
                _ => self.amount(),
            };
            others.insert((*name).to_owned(), value);
        }
        Value::Object(others)
    }

    fn amount(&mut self) -> Value {
        match self.below(8) {
            0..3 => json!(self.between(0, 200)),
            3 => json!(self.between(0, 40_000)),
            4 => json!(0.25 * f64::from(i32::try_from(self.between(0, 100)).unwrap())),
            5 => json!(format!("{}m", self.between(0, 60_000))),
            6 => json!(format!("{}", self.pick(&TARGETS))),
            _ => self.pick(&[json!("-1"), json!("9223372036854775807"), json!("5E"), json!("1e12"), json!("1.0005")]),
        }
    }

    fn pods(&mut self, now: f64, replicas: i64, load: i64) -> Value {
        let count = if self.chance(75) { replicas.max(1) } else { self.between(0, 12) };
        let requests = self.chance(92);
        let messy = self.chance(50);
        let fresh = if self.chance(40) { 40 } else { 0 };
        let pods = (0..count).map(|index| self.pod(index, now, load, requests, messy, fresh)).collect::<Vec<_>>();
        json!(pods)
    }

    fn pod(&mut self, index: i64, now: f64, load: i64, requests: bool, messy: bool, fresh: u64) -> Value {
        let mut pod = Map::new();
        let mut put = |name: &str, value: Value| drop(pod.insert(name.to_owned(), value));
        put("name", json!(format!("pod-{index}")));
        let request = self.pick(&[100, 100, 100, 250, 0]);
        if requests && !(messy && self.chance(2)) {
            put("cpuRequestMilli", json!(request));
            put("memoryRequestBytes", json!(134_217_728));
        }
        let odd = if messy { 12 } else { 1 };
        if !self.chance(odd) {
            put("cpuUsageMilli", json!((load + self.between(-20, 20)).max(0)));
        }
        if !self.chance(odd) {
            put("memoryUsageBytes", json!(load * 1_000_000 + self.between(0, 1_000_000)));
        }
        let metrics = ["rps", "depth"].into_iter().filter(|_| !self.chance(odd)).collect::<Vec<_>>();
        let metrics = metrics.into_iter().map(|name| (name.to_owned(), self.amount())).collect::<Map<_, _>>();
        put("metrics", Value::Object(metrics));
        let age = if self.chance(fresh) { self.pick(&[0.0, 5.0, 15.0, 30.0, 45.5, 60.0, 120.0]) } else { 900.0 };
        let started = now - age;
        if !self.chance(odd / 4) {
            put("startTime", whole(started));
        }
        if !self.chance(odd / 4) {
            put("ready", json!(!self.chance(odd.max(fresh / 2))));
        }
        if self.chance(40) {
            let since = started + self.pick(&[0.0, 5.0, 10.0, 29.0, 30.0, 30.9, 31.0, 100.0, 250.0]);
            put("readyTime", whole(since));
        }
        if self.chance(odd) {
            put("phase", self.pick(&[json!("Pending"), json!("Succeeded"), json!("Failed"), json!("Unknown")]));
        }
        if self.chance(odd / 2) {
            put("deleted", json!(true));
        }
        if self.chance(odd) {
            put("metricTime", whole(now - self.pick(&[0.0, 10.0, 30.0, 60.0])));
        }
        if self.chance(odd) {
            put("metricWindowSeconds", self.pick(&[json!(0), json!(10), json!(60)]));
        }
        Value::Object(pod)
    }
}

/// A whole number without a fraction, as people write it.
fn whole(value: f64) -> Value {
    if value.fract() == 0.0 { json!(format!("{value}").parse::<i64>().unwrap()) } else { json!(value) }
}

/// The pointers of all values that hold no others, and of all lists.
fn leaves(value: &Value, path: String, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                leaves(field, format!("{path}/{name}"), into);
            }
        }
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                leaves(item, format!("{path}/{index}"), into);
            }
            into.push(path);
        }
        _ => into.push(path),
    }
}
