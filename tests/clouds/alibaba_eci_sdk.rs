//! Alibaba's own SDKs drive the emulator, each check an emulator of its own.

use std::sync::Arc;

use burstlet::lab::emulator::{
    AccessKey, Emulator, Ground, Options, Settings,
    alibaba_eci::{Eci, Layout},
};

use crate::venv;

pub(crate) fn layout() -> Layout {
    Layout {
        region: "cn-hangzhou".to_owned(),
        vswitches: ["vsw-a=cn-hangzhou-h", "vsw-b=cn-hangzhou-i"].map(|text| text.parse().unwrap()).to_vec(),
        security_groups: [("sg-1".to_owned(), 100_000)].into(),
    }
}

pub(crate) async fn emulator(settings: Settings) -> (Arc<Ground>, Arc<Eci>, Emulator) {
    let ground = Arc::new(Ground::new(settings));
    let key: AccessKey = "testid:testsecret".parse().unwrap();
    let cloud = Arc::new(Eci::new(ground.clone(), [key], layout()));
    let emulator = Emulator::start(&Options::default(), ground.clone(), cloud.clone()).await.unwrap();
    (ground, cloud, emulator)
}

async fn check(name: &'static str) {
    let (_, _, emulator) = emulator(Settings::default()).await;
    let address = emulator.address();
    tokio::task::spawn_blocking(move || venv::check("alibaba_eci", &address, name)).await.unwrap();
}

macro_rules! checks {
    ($($test:ident: $check:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                check($check).await;
            }
        )*
    };
}

checks! {
    the_sdk_sees_a_group_through_its_life: "life";
    the_sdk_hears_what_is_not_taken: "refusals";
    the_sdk_turns_pages: "paging";
    the_sdk_gets_one_group_for_one_token: "idempotency";
    the_sdk_sees_late_failures_reclaims_and_jobs: "late";
    the_sdk_knows_a_throttle: "throttle";
    the_sdk_reads_prices_stock_and_usage: "catalog";
    the_sdk_manages_virtual_nodes_and_image_caches: "nodes";
    the_sdk_manages_routes: "network";
    wrong_keys_skewed_clocks_and_replays_are_refused: "keys";
    the_sdks_own_chain_exchanges_a_clusters_token_for_keys_that_end: "web_identity";
    the_old_sdk_is_understood_too: "old_sdk";
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_first_where_it_listens_and_speaks_tls_if_asked() {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };

    let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
    command.args(["emulate", "alibaba-eci", "--access-key", "a:b", "--tls"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = said["address"].as_str().unwrap();
    assert!(address.starts_with("https://127.0.0.1:"), "{line}");
    let timeout = std::time::Duration::from_secs(5);
    let client = burstlet::provider::clouds::http::client(address, said["certificate"].as_str(), timeout);
    let answer = client.unwrap().get(format!("{address}/_admin/calls")).send().await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer.unwrap().text().await.unwrap(), "{}");
}
