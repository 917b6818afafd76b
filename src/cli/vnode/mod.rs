//! `burstlet vnode`: virtual nodes that ECI manages itself, as vnodectl has them, and those of burstlet's own pools.

mod access;
mod config;
mod drain;
mod managed;
mod own;

use std::{io::Read as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use config::VnodeConfig;
pub(super) use config::{VnodeContext, context};
use drain::Pods;

use super::output::{OutputArgs, table};

#[derive(Debug, Args)]
pub(super) struct VnodeArgs {
    /// The file of contexts; else ~/.vnode/config, which vnodectl uses too
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// A context in place of the selected one
    #[arg(long, value_name = "NAME", global = true)]
    context: Option<String>,
    #[command(subcommand)]
    command: VnodeCommand,
}

#[derive(Debug, Subcommand)]
enum VnodeCommand {
    /// Work on contexts: account, cluster and place
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make a virtual node that ECI manages, or one more for a pool; prints its ids as JSON, then waits until it is ready
    Create(Box<CreateArgs>),
    /// List the virtual nodes: those that ECI manages, and the pools'
    List(ListArgs),
    /// Show one virtual node
    Describe(DescribeArgs),
    /// Delete a virtual node that has no pods, or have them evicted first
    Delete(DeleteArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Select a context; with settings, write them into it first
    SetContext(Box<SetContextArgs>),
    /// Select a context
    UseContext {
        /// Its name
        name: String,
    },
    /// List the contexts
    GetContexts(OutputArgs),
    /// Show the file, keys masked
    View,
}

#[derive(Debug, Args)]
struct SetContextArgs {
    /// The context's name
    name: String,
    /// Region, such as cn-hangzhou
    #[arg(long, value_name = "REGION")]
    region_id: Option<String>,
    /// Access key's id
    #[arg(long, value_name = "ID")]
    access_key_id: Option<String>,
    /// File with the access key's secret, or - for standard input: on a command line others would see it
    #[arg(long, value_name = "FILE")]
    access_key_secret_file: Option<PathBuf>,
    /// vSwitches of the node's pods, separated by commas
    #[arg(long, value_name = "IDS")]
    vswitch_id: Option<String>,
    /// Security group of the node's pods
    #[arg(long, value_name = "ID")]
    security_group_id: Option<String>,
    /// The cluster that nodes join
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Address of the APIs, where it is not the cloud's: an emulator's
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Add a node to this VirtualPool instead
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "service_account", "cluster_dns", "cluster_domain", "taints"])]
    pool: Option<String>,
    /// Its name at the cloud
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Give the node the rights of this service account (docs/install/vnode-role.yaml), not those of the context's kubeconfig
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service_account: Option<String>,
    /// Name servers of pods that ask for the cluster's DNS
    #[arg(long, value_name = "ADDRESSES")]
    cluster_dns: Option<String>,
    /// The cluster's domain
    #[arg(long, value_name = "DOMAIN")]
    cluster_domain: Option<String>,
    /// What keeps other pods off it; may be given again
    #[arg(long = "taint", value_name = "KEY=VALUE:EFFECT", value_parser = managed::taint,
        default_value = "virtual-kubelet.io/provider=alibabacloud:NoSchedule")]
    taints: Vec<crate::provider::clouds::alibaba_eci::manage::NodeTaint>,
    /// Do not wait until it is ready
    #[arg(long)]
    no_wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct DescribeArgs {
    /// Its id, vnd-…, or its name in the cluster
    node: String,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    /// Its id, vnd-…, or its name in the cluster
    node: String,
    /// Evict its pods first, within disruption budgets
    #[arg(long)]
    drain: bool,
    /// How long pods may take to go, and the node after them
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// A virtual node of either kind, as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    node: String,
    kind: &'static str,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    virtual_node_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    vswitch_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    security_group_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    created: String,
}

impl Shown {
    fn managed(node: &managed::VirtualNode, region: &str) -> Self {
        Self {
            node: node.node_name(region),
            kind: "managed",
            status: node.status.clone(),
            virtual_node_id: Some(node.virtual_node_id.clone()),
            pool: None,
            name: node.virtual_node_name.clone(),
            vswitch_id: node.virtual_node_v_switch_id.clone(),
            security_group_id: node.virtual_node_security_group_id.clone(),
            created: node.creation_time.clone(),
        }
    }

    fn own(node: &own::PoolNode) -> Self {
        let ready = if node.is_ready { "Ready" } else { "NotReady" };
        Self {
            node: node.name.clone(),
            kind: "pool",
            status: format!("{ready}{}", if node.is_closed { ",SchedulingDisabled" } else { "" }),
            virtual_node_id: None,
            pool: Some(node.pool.clone()),
            name: String::new(),
            vswitch_id: String::new(),
            security_group_id: String::new(),
            created: String::new(),
        }
    }
}

pub(super) async fn vnode(args: VnodeArgs) -> anyhow::Result<()> {
    let path = VnodeConfig::path(args.config.as_deref())?;
    let chosen = || context(args.config.as_deref(), args.context.as_deref());
    match args.command {
        VnodeCommand::Config(command) => configure(command, &path),
        VnodeCommand::Create(create) => match &create.pool {
            Some(pool) => create_own(&chosen()?, pool, &create).await,
            None => create_managed(&chosen()?, &create).await,
        },
        VnodeCommand::List(ListArgs { output }) => list(&chosen()?, &output).await,
        VnodeCommand::Describe(DescribeArgs { node }) => describe(&chosen()?, &node).await,
        VnodeCommand::Delete(delete) => remove(&chosen()?, &delete).await,
    }
}

fn configure(command: ConfigCommand, path: &std::path::Path) -> anyhow::Result<()> {
    let mut config = VnodeConfig::read(path)?;
    match command {
        ConfigCommand::SetContext(args) => {
            let name = args.name.clone();
            if let Some(settings) = settings(*args)? {
                let at = config.contexts.iter().position(|context| context.name == name);
                let at = at.unwrap_or_else(|| {
                    config.contexts.push(VnodeContext { name: name.clone(), ..VnodeContext::default() });
                    config.contexts.len() - 1
                });
                if let Some(context) = config.contexts.get_mut(at) {
                    context.merge(settings);
                }
            }
            config.select(&name)?;
            config.write(path)?;
            println!("context {name} is selected");
        }
        ConfigCommand::UseContext { name } => {
            config.select(&name)?;
            config.write(path)?;
            println!("context {name} is selected");
        }
        ConfigCommand::GetContexts(output) => {
            let masked = config.masked();
            let current = config.current_context.clone().unwrap_or_default();
            output.print(&masked.contexts, |contexts| {
                let text = |field: &Option<String>| field.clone().unwrap_or_default();
                let row = |one: &VnodeContext| {
                    let mark = if one.name == current { "*" } else { "" };
                    [mark.to_owned(), one.name.clone(), text(&one.region_id), text(&one.vswitch_id)]
                };
                table(&["CURRENT", "NAME", "REGION", "VSWITCH"], contexts.iter().map(row))
            })?;
        }
        ConfigCommand::View => print!("{}", serde_saphyr::to_string(&config.masked())?),
    }
    Ok(())
}

/// The settings that a command names, if it names any.
fn settings(args: SetContextArgs) -> anyhow::Result<Option<VnodeContext>> {
    let secret = args.access_key_secret_file.map(|file| {
        let mut text = String::new();
        if file.as_os_str() == "-" {
            std::io::stdin().read_to_string(&mut text).context("unable to read standard input")?;
        } else {
            text = std::fs::read_to_string(&file).with_context(|| format!("unable to read {}", file.display()))?;
        }
        Ok::<_, anyhow::Error>(text.trim().to_owned())
    });
    let settings = VnodeContext {
        name: String::new(),
        region_id: args.region_id,
        access_key_id: args.access_key_id,
        access_key_secret: secret.transpose()?,
        vswitch_id: args.vswitch_id,
        security_group_id: args.security_group_id,
        kubeconfig: args.kubeconfig,
        endpoint: args.endpoint,
    };
    let texts = [
        &settings.region_id,
        &settings.access_key_id,
        &settings.access_key_secret,
        &settings.vswitch_id,
        &settings.security_group_id,
        &settings.endpoint,
    ];
    let is_any = settings.kubeconfig.is_some() || texts.into_iter().any(Option::is_some);
    Ok(is_any.then_some(settings))
}

async fn create_managed(context: &VnodeContext, args: &CreateArgs) -> anyhow::Result<()> {
    let kubeconfig = match &args.service_account {
        Some(account) => access::kubeconfig(context, account).await?,
        None => managed::kubeconfig(context)?,
    };
    let account = context.account()?;
    let created = managed::create(&account, context, args, kubeconfig).await?;
    println!("{}", serde_json::to_string(&created)?);
    if args.no_wait {
        return Ok(());
    }
    managed::wait(&account, &created.virtual_node_id, args.timeout).await
}

async fn create_own(context: &VnodeContext, pool: &str, args: &CreateArgs) -> anyhow::Result<()> {
    let client = context.cluster().await?;
    let node = own::create(&client, pool).await?;
    println!("{}", serde_json::json!({"Node": node, "VirtualPool": pool}));
    if args.no_wait {
        return Ok(());
    }
    managed::until(&node, args.timeout, async || {
        let found = own::get(&client, &node).await?;
        Ok(match found {
            Some(found) if found.is_ready => managed::Step::Done,
            Some(_) => managed::Step::Still("NotReady".to_owned()),
            None => managed::Step::Still("not there yet".to_owned()),
        })
    })
    .await
}

async fn list(context: &VnodeContext, output: &OutputArgs) -> anyhow::Result<()> {
    let region = context.region()?;
    let managed = context.account()?.virtual_nodes(None).await?;
    let mut all = managed.iter().map(|node| Shown::managed(node, region)).collect::<Vec<_>>();
    match context.cluster().await {
        Ok(client) => all.extend(own::list(&client).await?.iter().map(Shown::own)),
        Err(error) => eprintln!("the pools' nodes are not shown: {}", super::one_line(&error)),
    }
    output.print(&all, |all| {
        let row = |one: &Shown| {
            let of = one.pool.clone().or_else(|| one.virtual_node_id.clone()).unwrap_or_default();
            [one.node.clone(), one.kind.to_owned(), one.status.clone(), of]
        };
        table(&["NODE", "KIND", "STATUS", "POOL OR ID"], all.iter().map(row))
    })
}

/// The managed node's id that a text names; else it is a pool's node.
fn managed_id<'a>(node: &'a str, region: &str) -> Option<&'a str> {
    let id = node.strip_prefix(region).and_then(|rest| rest.strip_prefix('.')).unwrap_or(node);
    id.starts_with("vnd-").then_some(id)
}

async fn describe(context: &VnodeContext, node: &str) -> anyhow::Result<()> {
    let region = context.region()?;
    let shown = match managed_id(node, region) {
        Some(id) => {
            let nodes = context.account()?.virtual_nodes(Some(id)).await?;
            nodes.first().map(|node| Shown::managed(node, region))
        }
        None => own::get(&context.cluster().await?, node).await?.as_ref().map(Shown::own),
    };
    let shown = shown.with_context(|| format!("there is no virtual node {node}"))?;
    print!("{}", serde_saphyr::to_string(&shown)?);
    Ok(())
}

async fn remove(context: &VnodeContext, args: &DeleteArgs) -> anyhow::Result<()> {
    let pods = if args.drain { Pods::Evict(args.timeout) } else { Pods::Keep };
    let client = context.cluster().await?;
    let region = context.region()?;
    match managed_id(&args.node, region) {
        Some(id) => {
            let account = context.account()?;
            if account.virtual_nodes(Some(id)).await?.is_empty() {
                bail!("there is no virtual node {id}");
            }
            let name = format!("{region}.{id}");
            drain::empty(&client, &name, pods).await?;
            account.delete_virtual_node(id).await?;
            managed::gone(&account, id, args.timeout).await?;
            drain::remove(&client, &name).await?;
        }
        None => own::delete(&client, &args.node, pods).await?,
    }
    println!("{} is deleted", args.node);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_managed_node_is_known_by_its_id_and_by_its_name() {
        assert_eq!(managed_id("vnd-1", "cn-hangzhou"), Some("vnd-1"));
        assert_eq!(managed_id("cn-hangzhou.vnd-1", "cn-hangzhou"), Some("vnd-1"));
        assert_eq!(managed_id("burstlet-eci-0", "cn-hangzhou"), None);
    }
}
