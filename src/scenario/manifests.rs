//! A scenario's manifests: the Deployment and the HPA, as a cluster takes them.

use std::collections::BTreeMap;

use burstlet_engine::{
    model::{MilliCpu, QuantityError},
    policy::{Base, BaseError},
};
use k8s_openapi::{
    Metadata, Resource,
    api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Container},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::api::names;

/// The workload of a scenario, and what the demo needs to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The Deployment, to be applied as it is.
    pub deployment: Deployment,
    /// The HPA that scales it, to be applied as it is.
    pub hpa: HorizontalPodAutoscaler,
    /// The base that the Deployment's annotation asks for.
    pub base: Base,
    /// CPU that one pod can use; `None` where a container has no limit.
    pub cpu_limit: Option<MilliCpu>,
    /// The HPA's maximum.
    pub most: u32,
}

/// Why manifests do not make a workload that the demo can run.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML, or not what the object's schema says.
    #[error("{file}: {}", error.without_snippet())]
    Yaml {
        /// File of the fault.
        file: String,
        /// What is wrong, with line and column.
        error: Box<serde_saphyr::Error>,
    },
    /// A field that the object's schema does not have: the API server would drop it.
    #[error("{file}: the {kind} that begins at line {line} has an unknown field {field}")]
    UnknownField {
        /// File of the fault.
        file: String,
        /// The object's kind.
        kind: &'static str,
        /// Line at which its document begins.
        line: usize,
        /// Path of the field.
        field: String,
    },
    /// An object of another kind.
    #[error(
        "{file}: line {line} begins a {api_version} {kind}; a scenario takes an apps/v1 Deployment and an \
         autoscaling/v2 HorizontalPodAutoscaler"
    )]
    Kind {
        /// File of the fault.
        file: String,
        /// Line at which the document begins.
        line: usize,
        /// The object's `apiVersion`.
        api_version: String,
        /// The object's `kind`.
        kind: String,
    },
    /// None of a kind, or more than one.
    #[error("the manifests hold {found} {kind}s; exactly one is needed")]
    Count {
        /// The kind.
        kind: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A field that is well-formed and yet cannot work.
    #[error("{object}: {field}: {fault}")]
    Field {
        /// Kind and name of the object.
        object: String,
        /// Path of the field.
        field: &'static str,
        /// What is wrong and what is allowed.
        fault: Fault,
    },
}

/// What is wrong with one field.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A field that the demo needs.
    #[error("missing; {0}")]
    Missing(&'static str),
    /// No base.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// No quantity.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// A reference that does not lead to the Deployment.
    #[error("names {found}, but the scenario's is {wanted}")]
    Reference {
        /// What is named.
        found: String,
        /// What there is.
        wanted: String,
    },
    /// Bounds that exclude each other, or zero.
    #[error("minReplicas {min} and maxReplicas {max}; allowed are 1 or more, the maximum not below the minimum")]
    Replicas {
        /// The minimum.
        min: i32,
        /// The maximum.
        max: i32,
    },
}

impl Workload {
    /// Reads the workload out of `files`, each with its name for errors. A file may hold several documents.
    pub fn read(files: &[(String, String)]) -> Result<Self, ManifestError> {
        let (mut deployments, mut hpas) = (Vec::new(), Vec::new());
        for (file, text) in files {
            for document in documents(file, text) {
                let head = document.parse::<Head>()?;
                match (head.api_version.as_str(), head.kind.as_str()) {
                    (Deployment::API_VERSION, Deployment::KIND) => deployments.push(document.object()?),
                    (HorizontalPodAutoscaler::API_VERSION, HorizontalPodAutoscaler::KIND) => {
                        hpas.push(document.object()?);
                    }
                    _ => return Err(document.other_kind(head)),
                }
            }
        }
        Self::of(only(deployments)?, only(hpas)?)
    }

    fn of(deployment: Deployment, hpa: HorizontalPodAutoscaler) -> Result<Self, ManifestError> {
        let in_deployment = |(field, fault)| at(&deployment, field, fault);
        let base = base(&deployment).map_err(in_deployment)?;
        let cpu_limit = cpu_limit(&deployment).map_err(in_deployment)?;
        let in_hpa = |(field, fault)| at(&hpa, field, fault);
        check_target(&deployment, &hpa).map_err(in_hpa)?;
        let most = most(&hpa).map_err(in_hpa)?;
        Ok(Self { deployment, hpa, base, cpu_limit, most })
    }
}

type Checked<T> = Result<T, (&'static str, Fault)>;

fn at<T: Metadata<Ty = ObjectMeta>>(object: &T, field: &'static str, fault: Fault) -> ManifestError {
    let name = object.metadata().name.as_deref().unwrap_or("without a name");
    ManifestError::Field { object: format!("{} {name}", T::KIND), field, fault }
}

fn base(deployment: &Deployment) -> Checked<Base> {
    let annotations = deployment.metadata.annotations.as_ref();
    let field = "metadata.annotations[burstlet.dev/base]";
    let text = annotations
        .and_then(|annotations| annotations.get(names::BASE))
        .ok_or((field, Fault::Missing("a number of pods or a percentage is needed, such as \"3\" or 30%")))?;
    text.parse().map_err(|error: BaseError| (field, error.into()))
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

fn check_target(deployment: &Deployment, hpa: &HorizontalPodAutoscaler) -> Checked<()> {
    let describe = |meta: &ObjectMeta, kind: &str, name: &str| {
        format!("{kind} {name} in namespace {}", meta.namespace.as_deref().unwrap_or("default"))
    };
    let target = &hpa.spec.scale_target_ref;
    let version = target.api_version.as_deref().unwrap_or_default();
    let found = describe(&hpa.metadata, &format!("{version} {}", target.kind), &target.name);
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let wanted = describe(&deployment.metadata, "apps/v1 Deployment", name);
    if found == wanted { Ok(()) } else { Err(("spec.scaleTargetRef", Fault::Reference { found, wanted })) }
}

fn most(hpa: &HorizontalPodAutoscaler) -> Checked<u32> {
    let (min, max) = (hpa.spec.min_replicas.unwrap_or(1), hpa.spec.max_replicas);
    let most = u32::try_from(max).ok().filter(|_| 1 <= min && min <= max);
    most.ok_or(("spec", Fault::Replicas { min, max }))
}

fn only<T: Resource>(mut objects: Vec<T>) -> Result<T, ManifestError> {
    match (objects.pop(), objects.len()) {
        (Some(object), 0) => Ok(object),
        (last, others) => Err(ManifestError::Count { kind: T::KIND, found: others + usize::from(last.is_some()) }),
    }
}

/// What every object begins with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
}

/// One document of a file.
struct Document<'a> {
    file: &'a str,
    /// Line at which it begins.
    line: usize,
    /// Its text below as many empty lines as the file has before it, so that errors name the file's lines.
    text: String,
}

impl Document<'_> {
    fn parse<T: DeserializeOwned>(&self) -> Result<T, ManifestError> {
        serde_saphyr::from_str(&self.text)
            .map_err(|error| ManifestError::Yaml { file: self.file.to_owned(), error: Box::new(error) })
    }

    /// The document as an object that holds all of its fields.
    fn object<T: DeserializeOwned + Serialize + Resource>(&self) -> Result<T, ManifestError> {
        let object = self.parse::<T>()?;
        let kept = serde_json::to_value(&object).unwrap_or_default();
        match lost_field("", &self.parse()?, &kept) {
            None => Ok(object),
            Some(field) => {
                Err(ManifestError::UnknownField { file: self.file.to_owned(), kind: T::KIND, line: self.line, field })
            }
        }
    }

    fn other_kind(&self, head: Head) -> ManifestError {
        let Head { api_version, kind } = head;
        ManifestError::Kind { file: self.file.to_owned(), line: self.line, api_version, kind }
    }
}

/// The documents of a file that hold more than comments. A line that begins with `---` ends a document anywhere in
/// YAML, so lines suffice to tell them apart.
fn documents<'a>(file: &'a str, text: &str) -> Vec<Document<'a>> {
    let mut documents = vec![Document { file, line: 1, text: String::new() }];
    for (number, line) in (1..).zip(text.lines()) {
        let rest = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        match (rest, documents.last_mut()) {
            (None, Some(document)) => document.text.extend([line, "\n"]),
            (rest, _) => {
                let text = format!("{}   {}\n", "\n".repeat(number - 1), rest.unwrap_or_default());
                documents.push(Document { file, line: number + 1, text });
            }
        }
    }
    documents
        .retain(|document| document.text.lines().any(|line| !matches!(line.trim().chars().next(), None | Some('#'))));
    documents
}

/// Path of the first field of `written` that `kept` no longer has. Fields without a value do not count.
fn lost_field(path: &str, written: &Value, kept: &Value) -> Option<String> {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => {
            written.iter().filter(|(_, value)| !value.is_null()).find_map(|(name, value)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match kept.get(name) {
                    Some(kept) => lost_field(&path, value, kept),
                    None => Some(path),
                }
            })
        }
        (Value::Array(written), Value::Array(kept)) => (0..)
            .zip(written.iter().zip(kept))
            .find_map(|(index, (written, kept))| lost_field(&format!("{path}[{index}]"), written, kept)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = include_str!("../../simulations/flash-crowd/workload.yaml");

    fn read(text: &str) -> Result<Workload, ManifestError> {
        Workload::read(&[("web.yaml".to_owned(), text.to_owned())])
    }

    /// The error of the workload with one text replaced.
    fn fault(from: &str, to: &str) -> String {
        assert!(WEB.contains(from), "{from:?} is not in the manifests");
        read(&WEB.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn base_limit_and_maximum_are_read_off_the_manifests() {
        let workload = read(WEB).unwrap();
        assert_eq!(workload.base, Base::count(3));
        assert_eq!(workload.cpu_limit, Some(MilliCpu(1000)));
        assert_eq!(workload.most, 20);
    }

    #[test]
    fn the_objects_may_stand_in_two_files() {
        let (deployment, hpa) = WEB.split_once("---\n").unwrap();
        let files = [deployment, hpa].map(|text| ("web.yaml".to_owned(), text.to_owned()));
        assert_eq!(Workload::read(&files).unwrap(), read(WEB).unwrap());
    }

    #[test]
    fn a_pod_without_a_limit_may_use_what_it_can() {
        let workload =
            read(&WEB.replacen(r#"limits: {cpu: "1", memory: 256Mi}"#, "limits: {memory: 256Mi}", 1)).unwrap();
        assert_eq!(workload.cpu_limit, None);
    }

    #[test]
    fn a_limit_alone_is_a_request_too() {
        let text = WEB.replacen("requests: {cpu: 200m,", "requests: {", 1);
        assert_eq!(read(&text).unwrap().cpu_limit, Some(MilliCpu(1000)));
    }

    #[test]
    fn a_wrong_type_is_named_by_the_files_line_in_any_document() {
        let error = fault("maxReplicas: 20", "maxReplicas: many");
        assert_eq!(error, "web.yaml: invalid i32 at line 31, column 16");
    }

    #[test]
    fn an_unknown_field_is_refused_by_its_path() {
        assert_eq!(
            fault("periodSeconds: 5", "periodSecond: 5"),
            "web.yaml: the HorizontalPodAutoscaler that begins at line 24 has an unknown field \
             spec.behavior.scaleUp.policies[0].periodSecond"
        );
        assert_eq!(
            fault("replicas: 3", "replcas: 3"),
            "web.yaml: the Deployment that begins at line 1 has an unknown field spec.replcas"
        );
    }

    #[test]
    fn other_kinds_and_other_counts_are_refused() {
        assert_eq!(
            fault("kind: Deployment", "kind: StatefulSet"),
            "web.yaml: line 1 begins a apps/v1 StatefulSet; a scenario takes an apps/v1 Deployment and an \
             autoscaling/v2 HorizontalPodAutoscaler"
        );
        let count = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(count("# nothing\n"), "the manifests hold 0 Deployments; exactly one is needed");
        assert_eq!(count(&format!("{WEB}\n---\n{WEB}")), "the manifests hold 2 Deployments; exactly one is needed");
    }

    #[test]
    fn what_cannot_work_is_named_by_object_field_and_what_is_allowed() {
        for (from, to, message) in [
            (
                "burstlet.dev/base",
                "burstlet.dev/bass",
                "Deployment web: metadata.annotations[burstlet.dev/base]: missing; a number of pods or a percentage is \
                 needed, such as \"3\" or 30%",
            ),
            (
                "base: \"3\"",
                "base: \"-3\"",
                "Deployment web: metadata.annotations[burstlet.dev/base]: \"-3\" is negative; the least base is 0",
            ),
            (
                "requests: {cpu: 200m,",
                "requests: {cpu: \"0\",",
                "Deployment web: spec.template.spec.containers[].resources.requests.cpu: missing; every container needs \
                 a CPU request, or the HPA cannot compute a utilization",
            ),
            (
                "kind: Deployment, name: web",
                "kind: Deployment, name: wep",
                "HorizontalPodAutoscaler web: spec.scaleTargetRef: names apps/v1 Deployment wep in namespace default, \
                 but the scenario's is apps/v1 Deployment web in namespace default",
            ),
            (
                "minReplicas: 3",
                "minReplicas: 30",
                "HorizontalPodAutoscaler web: spec: minReplicas 30 and maxReplicas 20; allowed are 1 or more, the \
                 maximum not below the minimum",
            ),
        ] {
            assert_eq!(fault(from, to), message);
        }
    }
}
