//! A pool on AWS Fargate, through ECS.

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

fn latest() -> String {
    "LATEST".to_owned()
}
