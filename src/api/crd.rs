//! The definitions of burstlet's own kinds, made from the types that read them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps,
};
use kube::api::ObjectMeta;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::api::{
    names,
    policy::{self, PolicyStatus},
    pool::{self, PoolSpec, PoolStatus},
};
use burstlet_engine::policy::Spec;

/// Where a kind's `Ready` condition stands.
const READY: &str = r#".status.conditions[?(@.type=="Ready")].status"#;

/// What keeps a pool from one more pod.
const TAKES: &str = r#".status.conditions[?(@.type=="TakesPods")].reason"#;

/// A type whose schema is beyond what the API server takes.
#[derive(Debug, thiserror::Error)]
#[error("the schema of {kind} is none that Kubernetes knows: {source}")]
pub struct CrdError {
    kind: &'static str,
    #[source]
    source: serde_json::Error,
}

/// BurstPolicy and VirtualPool, each with its file's name.
pub fn definitions() -> Result<[(&'static str, CustomResourceDefinition); 2], CrdError> {
    let burst_policy = Definition {
        kind: policy::KIND,
        plural: "burstpolicies",
        short: "bp",
        scope: "Namespaced",
        about: "How workloads are split between real nodes and pools of serverless containers.",
        rules: json!([{
            "rule": "!has(self.spec.extends) || self.spec.extends != self.metadata.name",
            "message": "a policy cannot extend itself",
            "fieldPath": ".spec.extends",
        }]),
        columns: &[
            ("Mode", "string", ".spec.mode", 0),
            ("Base", "string", ".spec.base", 0),
            ("Extends", "string", ".spec.extends", 1),
            ("Workloads", "integer", ".status.workloads", 0),
            ("Real", "integer", ".status.real", 0),
            ("Burst", "integer", ".status.burst", 0),
            ("Waiting", "integer", ".status.waiting", 0),
            ("Ready", "string", READY, 0),
            ("Age", "date", ".metadata.creationTimestamp", 0),
        ],
    };
    let virtual_pool = Definition {
        kind: pool::KIND,
        plural: "virtualpools",
        short: "vp",
        scope: "Cluster",
        about: "A place to burst to: a provider, and the virtual nodes that stand for it.",
        rules: json!([{
            "rule": "!has(self.spec.fallback) || self.spec.fallback != self.metadata.name",
            "message": "a pool cannot fall back to itself",
            "fieldPath": ".spec.fallback",
        }, {
            "rule": "self.metadata.name.matches('^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$')",
            "message": "a pool's name is up to 40 of a-z, 0-9 and -, with a letter first and no - at the end",
        }]),
        columns: &[
            ("Nodes", "integer", ".status.nodes", 0),
            ("Pods", "integer", ".status.pods", 0),
            ("Quota", "integer", ".spec.quota.pods", 0),
            ("Free", "integer", ".status.free", 0),
            ("Spent", "string", ".status.spent.day", 0),
            ("Takes", "string", TAKES, 0),
            ("Fallback", "string", ".spec.fallback", 1),
            ("Ready", "string", READY, 0),
            ("Age", "date", ".metadata.creationTimestamp", 0),
        ],
    };
    Ok([
        ("burstpolicies.yaml", burst_policy.definition::<Spec, PolicyStatus>()?),
        ("virtualpools.yaml", virtual_pool.definition::<PoolSpec, PoolStatus>()?),
    ])
}

/// What a definition says beside its schema.
struct Definition {
    kind: &'static str,
    plural: &'static str,
    short: &'static str,
    scope: &'static str,
    about: &'static str,
    /// CEL over the whole object.
    rules: Value,
    /// Name, type, path, and priority (above 0: only with `-o wide`).
    columns: &'static [(&'static str, &'static str, &'static str, i32)],
}

impl Definition {
    fn definition<S: JsonSchema, T: JsonSchema>(self) -> Result<CustomResourceDefinition, CrdError> {
        let schema = json!({
            "type": "object",
            "description": self.about,
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": structural::<S>(),
                "status": structural::<T>(),
            },
            "x-kubernetes-validations": self.rules,
        });
        let schema: JSONSchemaProps =
            serde_json::from_value(schema).map_err(|source| CrdError { kind: self.kind, source })?;
        let columns = self.columns.iter().map(|&(name, type_, json_path, priority)| CustomResourceColumnDefinition {
            name: name.to_owned(),
            type_: type_.to_owned(),
            json_path: json_path.to_owned(),
            priority: (priority > 0).then_some(priority),
            ..CustomResourceColumnDefinition::default()
        });
        let version = CustomResourceDefinitionVersion {
            name: names::VERSION.to_owned(),
            served: true,
            storage: true,
            schema: Some(CustomResourceValidation { open_api_v3_schema: Some(schema) }),
            subresources: Some(CustomResourceSubresources {
                status: Some(CustomResourceSubresourceStatus(json!({}))),
                scale: None,
            }),
            additional_printer_columns: Some(columns.collect()),
            ..CustomResourceDefinitionVersion::default()
        };
        Ok(CustomResourceDefinition {
            metadata: ObjectMeta { name: Some(format!("{}.{}", self.plural, names::GROUP)), ..ObjectMeta::default() },
            spec: CustomResourceDefinitionSpec {
                group: names::GROUP.to_owned(),
                names: CustomResourceDefinitionNames {
                    kind: self.kind.to_owned(),
                    plural: self.plural.to_owned(),
                    singular: Some(self.kind.to_lowercase()),
                    short_names: Some(vec![self.short.to_owned()]),
                    categories: Some(vec!["burstlet".to_owned()]),
                    ..CustomResourceDefinitionNames::default()
                },
                scope: self.scope.to_owned(),
                versions: vec![version],
                ..CustomResourceDefinitionSpec::default()
            },
            status: None,
        })
    }
}

/// The schema of `T` in the form that Kubernetes calls structural.
fn structural<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
        settings.transforms.clear();
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    restructure(&mut schema);
    schema
}

/// Rewrites what schemars says otherwise than Kubernetes wants it: optional values as unions with null, enums as unions
/// of constants, closed objects, unsigned formats.
fn restructure(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    fields.remove("title");
    // The API server prunes or refuses unknown fields by itself, and knows no closed objects.
    if fields.get("additionalProperties") == Some(&Value::Bool(false)) {
        fields.remove("additionalProperties");
    }
    // A field that is left out is no field that is null.
    fields.remove("default");
    take_out_null(fields);
    merge_branches(fields);
    // Kubernetes knows no such format, and warns of it.
    if fields.get("format") == Some(&json!("ip")) {
        fields.remove("format");
    }
    if let Some(format) = fields.get("format").and_then(Value::as_str).and_then(|format| format.strip_prefix('u')) {
        // Kubernetes knows two: the one that holds all of the unsigned one's numbers.
        let signed = if matches!(format, "int8" | "int16") { "int32" } else { "int64" };
        fields.insert("format".to_owned(), json!(signed));
        fields.entry("minimum").or_insert(json!(0));
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(restructure);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(inner) {
            restructure(inner);
        }
    }
}

fn take_out_null(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = fields.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            fields.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = fields.get_mut("enum") {
        values.retain(|one| !one.is_null());
    }
    let is_null =
        |branch: &Value| branch.get("type") == Some(&json!("null")) || branch.get("enum") == Some(&json!([null]));
    if let Some(Value::Array(branches)) = fields.get_mut("anyOf") {
        branches.retain(|branch| !is_null(branch));
        if let [Value::Object(only)] = branches.as_mut_slice() {
            let only = std::mem::take(only);
            fields.remove("anyOf");
            for (key, value) in only {
                // The field's own description is nearer than its type's.
                fields.entry(key).or_insert(value);
            }
        }
    }
    fields.remove("nullable");
}

/// An enum: its constants as one list, or its objects as one object with one of their fields.
fn merge_branches(fields: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = fields.remove("oneOf") else { return };
    let constants = branches.iter().flat_map(|branch| match (branch.get("const"), branch.get("enum")) {
        (Some(constant), _) => vec![constant.clone()],
        (None, Some(Value::Array(several))) => several.clone(),
        _ => Vec::new(),
    });
    let constants: Vec<_> = constants.collect();
    if !constants.is_empty() {
        let told = branches.iter().filter_map(|branch| {
            let name = branch.get("const").or_else(|| branch.get("enum")?.get(0))?.as_str()?;
            Some(format!("`{name}`: {}", branch.get("description")?.as_str()?))
        });
        let told: Vec<_> = told.collect();
        let own = fields.get("description").and_then(Value::as_str).unwrap_or_default();
        let description = format!("{own}\n{}", told.join("\n"));
        fields.insert("type".to_owned(), json!("string"));
        fields.insert("enum".to_owned(), Value::Array(constants));
        fields.insert("description".to_owned(), json!(description.trim()));
        return;
    }
    let mut properties = Map::new();
    for branch in branches {
        let told = branch.get("description").cloned();
        if let Some(Value::Object(own)) = branch.get("properties") {
            for (name, inner) in own {
                let mut inner = inner.clone();
                if let (Value::Object(inner), Some(told)) = (&mut inner, &told) {
                    inner.insert("description".to_owned(), told.clone());
                }
                properties.insert(name.clone(), inner);
            }
        }
    }
    fields.insert("type".to_owned(), json!("object"));
    fields.insert("properties".to_owned(), Value::Object(properties));
    fields.insert("minProperties".to_owned(), json!(1));
    fields.insert("maxProperties".to_owned(), json!(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property<'a>(schema: &'a Value, path: &str) -> &'a Value {
        path.split('.').fold(schema, |schema, name| &schema["properties"][name])
    }

    #[test]
    fn an_optional_enum_is_a_string_of_constants_that_are_explained() {
        let spec = structural::<Spec>();
        let mode = property(&spec, "mode");
        assert_eq!(mode["type"], "string");
        assert_eq!(mode["enum"], json!(["Observe", "AfterBase", "WhenFull", "Always", "Never"]));
        assert!(mode["description"].as_str().unwrap().contains("`Always`: No base"), "{mode}");
    }

    #[test]
    fn a_provider_is_one_of_its_kinds() {
        let spec = structural::<PoolSpec>();
        let provider = property(&spec, "provider");
        assert_eq!((&provider["minProperties"], &provider["maxProperties"]), (&json!(1), &json!(1)));
        assert_eq!(property(provider, "simulated.endpoint")["type"], "string");
    }

    #[test]
    fn nothing_is_left_that_no_structural_schema_may_hold() {
        fn look(path: &str, schema: &Value) {
            let Value::Object(fields) = schema else { return };
            for key in ["$ref", "$defs", "const", "oneOf", "nullable", "title", "default"] {
                assert!(!fields.contains_key(key), "{key} at {path}");
            }
            let is_either = fields.contains_key("x-kubernetes-int-or-string");
            assert!(is_either || fields.get("type").is_some_and(Value::is_string), "no type at {path}: {schema}");
            for (name, inner) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
                look(&format!("{path}.{name}"), inner);
            }
            for inner in ["items", "additionalProperties"] {
                if let Some(schema) = fields.get(inner) {
                    look(&format!("{path}[]"), schema);
                }
            }
        }
        for schema in
            [structural::<Spec>(), structural::<PolicyStatus>(), structural::<PoolSpec>(), structural::<PoolStatus>()]
        {
            look("", &schema);
        }
    }
}
