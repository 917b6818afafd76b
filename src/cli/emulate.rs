//! `burstlet emulate`.

use std::{io::Write, net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::lab::emulator::{
    AccessKey, Cloud, Emulator, Ground, Options, Settings,
    alibaba_eci::{Eci, Layout, VSwitch},
};

#[derive(Debug, Args)]
pub(super) struct EmulateArgs {
    #[command(subcommand)]
    cloud: CloudCommand,
}

#[derive(Debug, Subcommand)]
enum CloudCommand {
    /// Alibaba Cloud's Elastic Container Instance, and what goes with it of the VPC and of STS
    AlibabaEci(AlibabaEciArgs),
    /// Kingsoft Cloud's Container Instances (KCI)
    KingsoftKci(SignedArgs),
    /// AWS ECS on Fargate, and STS's exchange of web identities
    AwsEcs(SignedArgs),
    /// Azure Container Instances, and the login service that grants their tokens
    AzureAci(AzureAciArgs),
}

#[derive(Debug, Args)]
struct AzureAciArgs {
    /// A client that may sign in; may be given again for further ones
    #[arg(long = "client", value_name = "TENANT:ID:SECRET", required = true)]
    clients: Vec<crate::lab::emulator::azure_aci::ClientKey>,
    #[command(flatten)]
    frame: FrameArgs,
}

#[derive(Debug, Args)]
struct SignedArgs {
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    frame: FrameArgs,
}

#[derive(Debug, Args)]
struct AlibabaEciArgs {
    #[command(flatten)]
    keys: KeyArgs,
    /// The region that it is
    #[arg(long, value_name = "REGION", default_value = "cn-hangzhou")]
    region: String,
    /// A vSwitch of its VPC; may be given again for further ones
    #[arg(
        long = "vswitch",
        value_name = "ID=ZONE[=CIDR]",
        default_values = ["vsw-a=cn-hangzhou-h", "vsw-b=cn-hangzhou-i"]
    )]
    vswitches: Vec<VSwitch>,
    /// How many instances a security group takes, where not 2000; may be given again
    #[arg(long = "security-group", value_name = "ID=LIMIT", value_parser = limit)]
    security_groups: Vec<(String, u64)>,
    #[command(flatten)]
    frame: FrameArgs,
}

fn limit(text: &str) -> Result<(String, u64), String> {
    let limit = text.split_once('=').and_then(|(id, limit)| Some((id.to_owned(), limit.parse().ok()?)));
    limit.ok_or_else(|| "write ID=LIMIT, such as sg-1=5000".to_owned())
}

/// Keys of clouds that sign with an id and a secret.
#[derive(Debug, Args)]
struct KeyArgs {
    /// A key that the cloud knows; may be given again for further ones
    #[arg(long = "access-key", value_name = "ID:SECRET", required = true)]
    access_keys: Vec<AccessKey>,
}

/// What every emulator takes.
#[derive(Debug, Args)]
struct FrameArgs {
    /// Address and port; port 0 is a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Speak TLS, by a certificate made for this run; the first line of output has it
    #[arg(long)]
    tls: bool,
    /// How the cloud behaves to begin with (YAML); the admin endpoint changes it later: PATCH /_admin/settings
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

impl FrameArgs {
    fn ground(&self) -> anyhow::Result<Arc<Ground>> {
        let settings = match &self.settings {
            None => Settings::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("unable to read the settings {}", path.display()))?;
                serde_saphyr::from_str(&text)
                    .map_err(|error| anyhow::anyhow!("{} has no settings: {error}", path.display()))?
            }
        };
        Ok(Arc::new(Ground::new(settings)))
    }

    async fn serve(&self, ground: Arc<Ground>, cloud: Arc<dyn Cloud>, stop: CancellationToken) -> anyhow::Result<()> {
        let options = Options { listen: self.listen, tls: self.tls };
        let emulator = Emulator::start(&options, ground, cloud).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{emulator}").and_then(|()| out.flush()).context("unable to print")?;
        drop(out);
        stop.cancelled().await;
        Ok(())
    }
}

pub(super) async fn emulate(args: EmulateArgs, stop: CancellationToken) -> anyhow::Result<()> {
    match args.cloud {
        CloudCommand::AlibabaEci(AlibabaEciArgs { keys, region, vswitches, security_groups, frame }) => {
            let ground = frame.ground()?;
            let layout = Layout { region, vswitches, security_groups: security_groups.into_iter().collect() };
            let cloud = Eci::new(ground.clone(), keys.access_keys, layout);
            frame.serve(ground, Arc::new(cloud), stop).await
        }
        CloudCommand::AzureAci(AzureAciArgs { clients, frame }) => {
            let ground = frame.ground()?;
            let cloud = crate::lab::emulator::azure_aci::Aci::new(ground.clone(), clients);
            frame.serve(ground, Arc::new(cloud), stop).await
        }
        CloudCommand::AwsEcs(SignedArgs { keys, frame }) => {
            let ground = frame.ground()?;
            let cloud = crate::lab::emulator::aws_ecs::Ecs::new(ground.clone(), keys.access_keys);
            frame.serve(ground, Arc::new(cloud), stop).await
        }
        CloudCommand::KingsoftKci(SignedArgs { keys, frame }) => {
            let ground = frame.ground()?;
            let cloud = crate::lab::emulator::kingsoft_kci::Kci::new(ground.clone(), keys.access_keys);
            frame.serve(ground, Arc::new(cloud), stop).await
        }
    }
}
