//! `burstlet routes`: the VPC's way from instances to pods of the cluster's overlay network.
//!
//! An instance has an address of the VPC, and an overlay pod has one that the VPC does not know. An entry of the VPC's route
//! table for each node, its pod network by its machine, is all that is missing.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt, api::ListParams};

use super::vnode;
use crate::{
    api::names,
    provider::clouds::alibaba_eci::manage::{Account, Route, RouteTable},
};

/// Custom entries that a route table takes without a raised quota.
const MOST_ENTRIES: usize = 200;

#[derive(Debug, Args)]
pub(super) struct RoutesArgs {
    #[command(subcommand)]
    command: RoutesCommand,
}

#[derive(Debug, Subcommand)]
enum RoutesCommand {
    /// Show what would change
    Plan(Wanted),
    /// Change it: entries of this cluster's nodes only
    Apply(Wanted),
    /// Exit with 1 where anything would change
    Check(Wanted),
}

#[derive(Debug, Args)]
struct Wanted {
    /// The cluster's name in the names of its entries; entries of other names are never touched
    #[arg(long, value_name = "ID")]
    cluster_id: String,
    /// The file of contexts, as burstlet vnode has it; else ~/.vnode/config
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A context in place of the selected one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Nodes from a file, as kubectl get nodes -o yaml prints them, in place of the cluster
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// The machine of a node that does not tell it; may be given again
    #[arg(long = "instance", value_name = "NODE=ID", value_parser = pair)]
    instances: Vec<(String, String)>,
    /// The pod network of a node that does not tell it; may be given again
    #[arg(long = "cidr", value_name = "NODE=CIDR", value_parser = pair)]
    networks: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "write NODE=VALUE".to_owned())
}

/// An entry that is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    destination: String,
    instance: String,
}

/// What is to change.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    add: Vec<Entry>,
    /// Entries of ours, to make room for another or for good.
    remove: Vec<Route>,
    /// Entries that stand as they should, by us or by others.
    kept: usize,
    /// What stands in the way, and is another's.
    conflicts: Vec<String>,
    /// Nodes that get none.
    left_out: Vec<String>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty() && self.conflicts.is_empty()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for route in &self.remove {
            let _ = writeln!(text, "- {} by {} ({})", route.destination, route.hop, route.name);
        }
        for entry in &self.add {
            let _ = writeln!(text, "+ {} by {} ({})", entry.destination, entry.instance, entry.name);
        }
        for told in self.conflicts.iter().chain(&self.left_out) {
            let _ = writeln!(text, "! {told}");
        }
        let _ = writeln!(
            text,
            "{} to add, {} to remove, {} as they should be",
            self.add.len(),
            self.remove.len(),
            self.kept
        );
        text
    }
}

/// How the names of a cluster's entries begin.
fn prefix(cluster: &str) -> String {
    format!("burstlet_{cluster}_")
}

/// The machine of a node: as the cloud controller tells it, or by the node's name as ACK gives them.
fn instance_of(node: &Node) -> Option<&str> {
    let provider_id = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref());
    let named = [provider_id, node.metadata.name.as_deref()].into_iter().flatten();
    let ids = named.filter_map(|text| text.rsplit(['.', '/']).next());
    ids.into_iter().find(|id| id.starts_with("i-"))
}

fn is_virtual(node: &Node) -> bool {
    node.labels().get(names::NODE_TYPE).is_some_and(|kind| kind == names::VIRTUAL_NODE_TYPE)
        || node.labels().contains_key(names::POOL)
}

fn plan(nodes: &[Node], table: &RouteTable, wanted: &Wanted) -> Plan {
    let prefix = prefix(&wanted.cluster_id);
    let given = |pairs: &[(String, String)], name: &str| {
        pairs.iter().find(|(node, _)| node == name).map(|(_, value)| value.clone())
    };
    let mut plan = Plan::default();
    let mut entries = BTreeMap::new();
    for node in nodes.iter().filter(|node| !is_virtual(node)) {
        let name = node.name_any();
        let network = given(&wanted.networks, &name).or_else(|| node.spec.as_ref()?.pod_cidr.clone());
        let instance = given(&wanted.instances, &name).or_else(|| instance_of(node).map(str::to_owned));
        match (network, instance) {
            (Some(destination), Some(instance)) => {
                entries.insert(destination.clone(), Entry { name: format!("{prefix}{name}"), destination, instance });
            }
            (None, _) => plan
                .left_out
                .push(format!("{name} tells no pod network (podCIDR); name it: --cidr {name}=10.88.1.0/24")),
            (_, None) => {
                plan.left_out.push(format!("{name} tells no machine (providerID); name it: --instance {name}=i-…"));
            }
        }
    }
    for route in &table.routes {
        let entry = entries.get(&route.destination);
        let is_ours = !route.is_system && route.name.starts_with(&prefix);
        match entry {
            Some(entry) if entry.instance == route.hop => {
                plan.kept += 1;
                entries.remove(&route.destination);
            }
            _ if is_ours => plan.remove.push(route.clone()),
            Some(_) => {
                let whose = if route.is_system { "the VPC itself" } else { "an entry that is not burstlet's" };
                plan.conflicts.push(format!("{} goes by {} already, by {whose}", route.destination, route.hop));
                entries.remove(&route.destination);
            }
            None => {}
        }
    }
    plan.add = entries.into_values().collect();
    let custom = table.routes.iter().filter(|route| !route.is_system).count();
    let after = custom + plan.add.len() - plan.remove.len();
    if after > MOST_ENTRIES {
        plan.conflicts.push(format!(
            "{} would have {after} entries; it takes {MOST_ENTRIES} unless its quota is raised",
            table.id
        ));
    }
    plan
}

async fn nodes(wanted: &Wanted, context: &vnode::VnodeContext) -> anyhow::Result<Vec<Node>> {
    let Some(file) = &wanted.nodes else {
        let api: Api<Node> = Api::all(context.cluster().await?);
        return Ok(api.list(&ListParams::default()).await.context("unable to list the nodes")?.items);
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("unable to read {}", file.display()))?;
    let read: serde_json::Value = serde_saphyr::from_str(&text)
        .map_err(|error| anyhow::anyhow!("{} is no YAML: {}", file.display(), error.without_snippet()))?;
    let items = read["items"].as_array().with_context(|| format!("{} is no list of nodes", file.display()))?;
    items.iter().map(|item| Ok(serde_json::from_value(item.clone())?)).collect()
}

async fn apply(account: &Account, table: &RouteTable, plan: &Plan) -> anyhow::Result<()> {
    for route in &plan.remove {
        account.remove_route(&route.id).await?;
        println!("- {} by {}", route.destination, route.hop);
    }
    for Entry { name, destination, instance } in &plan.add {
        account.add_route(&table.id, name, destination, instance).await?;
        println!("+ {destination} by {instance}");
    }
    Ok(())
}

pub(super) async fn routes(args: RoutesArgs) -> anyhow::Result<ExitCode> {
    let (RoutesCommand::Plan(wanted) | RoutesCommand::Apply(wanted) | RoutesCommand::Check(wanted)) = &args.command;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if wanted.cluster_id.is_empty() || !wanted.cluster_id.chars().all(is_word) {
        bail!("--cluster-id {:?}: letters, digits, - and . are taken", wanted.cluster_id);
    }
    let context = vnode::context(wanted.config.as_deref(), wanted.context.as_deref())?;
    let account = context.account()?;
    let vswitch = context.vswitches()?.split(',').next().unwrap_or_default();
    let table = account.route_table(vswitch).await?;
    let plan = plan(&nodes(wanted, &context).await?, &table, wanted);
    match &args.command {
        RoutesCommand::Plan(_) => print!("{}", plan.text()),
        RoutesCommand::Check(_) if plan.is_empty() => println!("{} is as it should be", table.id),
        RoutesCommand::Check(_) => {
            print!("{}", plan.text());
            return Ok(ExitCode::FAILURE);
        }
        RoutesCommand::Apply(_) => {
            for told in plan.conflicts.iter().chain(&plan.left_out) {
                eprintln!("! {told}");
            }
            apply(&account, &table, &plan).await?;
            if !plan.conflicts.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, network: Option<&str>, provider_id: Option<&str>) -> Node {
        serde_json::from_value(
            json!({"metadata": {"name": name}, "spec": {"podCIDR": network, "providerID": provider_id}}),
        )
        .unwrap()
    }

    fn route(id: &str, name: &str, destination: &str, hop: &str) -> Route {
        let text = str::to_owned;
        let (hop_type, is_system) = (text("Instance"), name == "system");
        Route { id: text(id), name: text(name), destination: text(destination), hop_type, hop: text(hop), is_system }
    }

    fn wanted() -> Wanted {
        let (instances, networks) = (vec![("c".to_owned(), "i-c".to_owned())], Vec::new());
        Wanted { cluster_id: "prod".to_owned(), config: None, context: None, nodes: None, instances, networks }
    }

    #[test]
    fn only_entries_of_this_clusters_own_are_removed_and_what_is_anothers_is_told() {
        let mut of_a_pool = node("burstlet-eci-0", Some("10.9.0.0/24"), Some("x.i-x"));
        of_a_pool.metadata.labels = Some([("burstlet.dev/pool".to_owned(), "eci".to_owned())].into());
        let nodes = [
            node("cn-hangzhou.i-a", Some("10.88.0.0/24"), None),
            node("b", Some("10.88.1.0/24"), Some("alicloud://cn-hangzhou.i-b")),
            node("c", Some("10.88.2.0/24"), None),
            node("d", Some("10.88.3.0/24"), None),
            node("e", None, Some("cn-hangzhou.i-e")),
            of_a_pool,
        ];
        let routes = vec![
            route("1", "system", "10.104.0.0/16", ""),
            route("2", "burstlet_prod_b", "10.88.1.0/24", "i-old"),
            route("3", "burstlet_prod_gone", "10.88.7.0/24", "i-gone"),
            route("4", "burstlet_other_x", "10.88.8.0/24", "i-x"),
            route("5", "by hand", "10.88.2.0/24", "i-else"),
            route("6", "by hand", "10.88.0.0/24", "i-a"),
        ];
        let plan = plan(&nodes, &RouteTable { id: "vtb-1".to_owned(), routes }, &wanted());
        let text = plan.text();
        assert_eq!(plan.remove.iter().map(|route| route.id.as_str()).collect::<Vec<_>>(), ["2", "3"], "{text}");
        assert_eq!(plan.add.iter().map(|entry| entry.instance.as_str()).collect::<Vec<_>>(), ["i-b"], "{text}");
        assert_eq!(plan.kept, 1);
        assert!(plan.conflicts[0].contains("10.88.2.0/24 goes by i-else"), "{text}");
        assert!(plan.left_out[0].contains("--instance d=") && plan.left_out[1].contains("--cidr e="), "{text}");
    }
}
