//! Label selectors of metrics: which series count. Only their form matters here; the metrics API applies them.

use std::{collections::BTreeMap, fmt, slice};

use serde::Deserialize;

use super::{
    names::{label_key_faults, label_value_faults},
    spec::or_default,
};

/// A label selector, as in Kubernetes' API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabelSelector {
    /// Labels and their values.
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Further requirements.
    pub match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabelSelectorRequirement {
    /// The label.
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    #[serde(deserialize_with = "or_default")]
    pub operator: String,
    /// The values of `In` and `NotIn`.
    pub values: Option<Vec<String>>,
}

impl LabelSelector {
    /// Whether the controller can make a selector of it; the API server does not ask.
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, value) in self.match_labels.iter().flatten() {
            checked(key, slice::from_ref(value), None)?;
        }
        for LabelSelectorRequirement { key, operator, values } in self.match_expressions.iter().flatten() {
            let values = values.as_deref().unwrap_or_default();
            let fault = match operator.as_str() {
                "In" | "NotIn" if values.is_empty() => Some("for 'in', 'notin' operators, values set can't be empty"),
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    Some("values set must be empty for exists and does not exist")
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" => None,
                _ => return Err(format!("{operator:?} is not a valid label selector operator")),
            };
            checked(key, values, fault)?;
        }
        Ok(())
    }
}

/// A requirement's faults in one text.
fn checked(key: &str, values: &[String], fault: Option<&str>) -> Result<(), String> {
    let mut faults = Vec::new();
    let of_key = label_key_faults(key);
    if !of_key.is_empty() {
        faults.push(format!("key: Invalid value: {key:?}: {}", of_key.join("; ")));
    }
    if let Some(fault) = fault {
        // An empty list that was never made is null to upstream.
        let listed = values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(",");
        let shown = if values.is_empty() { "null".to_owned() } else { format!("[{listed}]") };
        faults.push(format!("values: Invalid value: {shown}: {fault}"));
    }
    for (index, value) in values.iter().enumerate() {
        let of_value = label_value_faults(value);
        if !of_value.is_empty() {
            faults.push(format!("values[{index}][{key}]: Invalid value: {value:?}: {}", of_value.join("; ")));
        }
    }
    match faults.as_slice() {
        [] => Ok(()),
        [fault] => Err(fault.clone()),
        faults => Err(format!("[{}]", faults.join(", "))),
    }
}

impl fmt::Display for LabelSelector {
    /// As upstream's messages show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "&LabelSelector{{MatchLabels:map[string]string{{")?;
        for (key, value) in self.match_labels.iter().flatten() {
            write!(f, "{key}: {value},")?;
        }
        write!(f, "}},MatchExpressions:[]LabelSelectorRequirement{{")?;
        for LabelSelectorRequirement { key, operator, values } in self.match_expressions.iter().flatten() {
            let values = values.as_deref().unwrap_or_default().join(" ");
            write!(f, "LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")?;
        }
        write!(f, "}},}}")
    }
}
