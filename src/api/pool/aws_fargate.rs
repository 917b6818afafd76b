//! A pool on AWS Fargate, through ECS.

use burstlet_engine::policy::fields::FieldFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SubnetOrder, credentials::CredentialsFrom};

/// Most subnets of a pool (`awsvpcConfiguration.subnets`).
pub const MOST_SUBNETS: usize = 16;
/// Most security groups of a task (`awsvpcConfiguration.securityGroups`).
pub const MOST_SECURITY_GROUPS: usize = 5;

/// AWS Fargate, through ECS. The cluster is best burstlet's own: all its tasks are listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsFargate {
    /// Region, such as `eu-central-1`.
    pub region: String,
    /// Keys: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, where they are temporary, `AWS_SESSION_TOKEN`; or
    /// `AWS_ROLE_ARN` and `AWS_WEB_IDENTITY_TOKEN_FILE`, whose token is exchanged at STS.
    #[serde(default)]
    pub credentials: CredentialsFrom,
    /// ECS cluster that tasks run in.
    pub cluster: String,
    /// Subnets, tried in turn where one has no capacity or addresses; at most 16.
    pub subnet_ids: Vec<String>,
    /// In which order the subnets are tried.
    #[serde(default)]
    pub subnet_order: SubnetOrder,
    /// Security groups, at most 5; the VPC's default where empty.
    #[serde(default)]
    pub security_group_ids: Vec<String>,
    /// Give tasks a public address.
    #[serde(default)]
    pub assign_public_ip: bool,
    /// On which capacity tasks run.
    #[serde(default)]
    pub capacity: Capacity,
    /// Version of Fargate's platform.
    #[serde(default = "latest")]
    pub platform_version: String,
    /// Role by which Fargate pulls images and writes logs.
    #[serde(default)]
    pub execution_role_arn: Option<String>,
    /// Group of `CloudWatch` Logs that the containers' output goes to, for `kubectl logs`. It has to be there, and
    /// `executionRoleArn` may write to it. Pods that run already are not touched.
    #[serde(default)]
    pub log_group: Option<String>,
    /// Role that the containers get.
    #[serde(default)]
    pub task_role_arn: Option<String>,
    /// Allow commands in running containers (ECS Exec).
    #[serde(default)]
    pub enable_execute_command: bool,
    /// Another address of ECS, such as an emulator's: `http://127.0.0.1:PORT`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Another address of `CloudWatch` Logs.
    #[serde(default)]
    pub logs_endpoint: Option<String>,
    /// Another address of STS.
    #[serde(default)]
    pub sts_endpoint: Option<String>,
    /// Certificate to trust at `endpoint`, in PEM; the system's where missing.
    #[serde(default)]
    pub trusted_certificate: Option<String>,
}

/// On which capacity tasks run. To mix, make two pools: the policy's tiers do the splitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Capacity {
    /// `FARGATE`: stays.
    #[default]
    OnDemand,
    /// `FARGATE_SPOT`: cheaper, and taken back with two minutes' notice.
    Spot,
}

impl AwsFargate {
    /// What cannot work, by its field; nothing is asked of the cloud for it.
    pub fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, says: String| faults.push(FieldFault::new(field, says));
        if !is_region(&self.region) {
            fault("region", format!("{:?} is no region; write for example eu-central-1", self.region));
        }
        if self.cluster.is_empty() {
            fault("cluster", "none is named".to_owned());
        }
        for (field, count, least, most) in [
            ("subnetIds", self.subnet_ids.len(), 1, MOST_SUBNETS),
            ("securityGroupIds", self.security_group_ids.len(), 0, MOST_SECURITY_GROUPS),
        ] {
            if !(least..=most).contains(&count) {
                fault(field, format!("{count} are named; {least} to {most} are allowed"));
            }
        }
        if let Some(group) = &self.log_group {
            let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/.#".contains(&byte);
            if !(1..=512).contains(&group.len()) || !group.bytes().all(is_sign) {
                let says = "is no group of logs; 1 to 512 letters, digits and _ - / . # are allowed";
                fault("logGroup", format!("{group:?} {says}"));
            }
            if self.execution_role_arn.is_none() {
                fault("logGroup", "Fargate writes logs by a role: name executionRoleArn as well".to_owned());
            }
        }
        faults
    }
}

/// Words with dashes, the last a number: `eu-central-1`.
fn is_region(region: &str) -> bool {
    let parts = region.split('-').collect::<Vec<_>>();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let Some((number, words)) = parts.split_last() else { return false };
    words.len() >= 2 && is_number(number) && words.iter().all(is_word)
}

fn latest() -> String {
    "LATEST".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(extra: &Value) -> Vec<String> {
        let mut settings = json!({"region": "us-east-1", "cluster": "c", "subnetIds": ["s-1"]});
        json_patch::merge(&mut settings, extra);
        let faults = serde_json::from_value::<AwsFargate>(settings).unwrap().faults();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn limits_are_told_by_field() {
        assert_eq!(faults(&json!({})), [""; 0]);
        let all =
            json!({"region": "mars", "cluster": "", "subnetIds": [], "securityGroupIds": ["", "", "", "", "", ""]});
        assert_eq!(
            faults(&all),
            [
                "region: \"mars\" is no region; write for example eu-central-1",
                "cluster: none is named",
                "subnetIds: 0 are named; 1 to 16 are allowed",
                "securityGroupIds: 6 are named; 0 to 5 are allowed",
            ]
        );
        assert_eq!(faults(&json!({"region": "us-gov-west-1"})), [""; 0]);
    }

    #[test]
    fn a_group_of_logs_needs_a_name_and_a_role() {
        let role = json!({"executionRoleArn": "arn:aws:iam::1:role/r", "logGroup": "/burst/web"});
        assert_eq!(faults(&role), [""; 0]);
        assert!(faults(&json!({"logGroup": "web"}))[0].ends_with("name executionRoleArn as well"));
        assert!(faults(&json!({"logGroup": "a group"}))[0].starts_with("logGroup: \"a group\" is no group of logs"));
    }
}
