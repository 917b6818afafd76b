//! Replays of the scenarios that burstlet ships, by the program itself: what each teaches, that nothing but the seed
//! changes a byte, and that tuning finds what looking at everything would find.

#![allow(clippy::unwrap_used, reason = "a test may fail by it, its helpers too")]

use std::process::{Command, Output};

use serde_json::Value;

fn burstlet(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
    command.args(arguments).env_remove("NO_COLOR");
    command
}

fn output(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(arguments: &[&str]) -> String {
    String::from_utf8(output(burstlet(arguments)).stdout).unwrap()
}

fn lines(arguments: &[&str]) -> Vec<Value> {
    text(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One test a scenario, so that each failure names its own.
macro_rules! replays {
    ($($test:ident: $scenario:literal;)+) => {$(
        #[test]
        fn $test() {
            insta::assert_snapshot!($scenario, text(&["replay", $scenario]));
        }
    )+};
}

replays! {
    a_flash_crowd_bursts_and_is_gone: "flash-crowd";
    a_daily_wave_rents_the_hill_above_its_base: "daily-wave";
    a_pool_out_of_stock_hands_over_to_the_next: "stock-out";
    what_spot_pools_take_back_is_made_again: "spot-reclaim";
    a_pool_bridges_until_slow_nodes_have_booted: "slow-autoscaler";
    two_workloads_share_a_pool_and_the_one_of_higher_priority_goes_first: "shared-pool";
    a_rolling_update_amid_a_peak_keeps_each_revisions_base: "rolling-update";
}

#[test]
fn time_zone_locale_and_place_change_no_byte() {
    let here = output(burstlet(&["replay", "spot-reclaim", "--json"])).stdout;
    let mut abroad = burstlet(&["replay", "spot-reclaim", "--json"]);
    abroad.envs([("TZ", "Asia/Kathmandu"), ("LANG", "de_DE.UTF-8"), ("LC_ALL", "tr_TR.UTF-8")]);
    let folder = tempfile::tempdir().unwrap();
    abroad.current_dir(folder.path());
    assert!(here == output(abroad).stdout, "the same bytes");
    let other = output(burstlet(&["replay", "spot-reclaim", "--json", "--seed", "2"])).stdout;
    assert!(here != other, "another seed, another run");
}

#[test]
fn json_and_csv_tell_the_same_samples() {
    let records = lines(&["replay", "flash-crowd", "--json"]);
    let (summary, samples) = records.split_last().unwrap();
    assert_eq!(summary["summary"]["peak"], 20);
    assert_eq!(summary["summary"]["base_exceeded"], 0);
    assert_eq!(samples[0]["t"], 0.0);
    let csv = text(&["replay", "flash-crowd", "--csv"]);
    assert_eq!(csv.lines().count(), samples.len() + 1);
    let last = csv.lines().last().unwrap().split(',').map(str::to_owned).collect::<Vec<_>>();
    let header = csv.lines().next().unwrap().split(',').position(|name| name == "cost").unwrap();
    assert_eq!(last[header], samples.last().unwrap()["cost"].to_string());
}

#[test]
fn the_number_of_threads_changes_no_figure() {
    let with = |threads| text(&["compare", "stock-out", "--json", "--base", "8", "--threads", threads]);
    assert_eq!(with("1"), with("4"));
}

#[test]
fn a_policy_is_simulated_before_it_is_rolled_out_side_by_side_with_others() {
    insta::assert_snapshot!("compare", text(&["compare", "stock-out", "--base", "8"]));
}

#[test]
fn tuning_chooses_what_an_exhaustive_search_chooses_with_a_fifth_of_its_simulations() {
    for (scenario, objective) in
        [("stock-out", "p95<60s"), ("rolling-update", "p95<26s"), ("spot-reclaim", "unserved<2%")]
    {
        let arguments = ["tune", scenario, "--objective", objective, "--most", "60", "--seeds", "1", "--json"];
        let found = lines(&arguments);
        let all = lines(&[&arguments[..], &["--exhaustive"]].concat());
        let (found, all) = (found.last().unwrap(), all.last().unwrap());
        assert_eq!(found["choice"], all["choice"], "{scenario}");
        assert_eq!(all["simulated"], 61);
        assert!(found["simulated"].as_u64().unwrap() <= 61 / 5, "{scenario}: {found}");
        assert_eq!(found["unseen"]["holds"], true, "{scenario}: {found}");
    }
}

#[test]
fn an_interrupted_study_goes_on_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.jsonl");
    let arguments = ["compare", "flash-crowd", "--json", "--results", file.to_str().unwrap()];
    let whole = text(&arguments);
    let kept = std::fs::read_to_string(&file).unwrap();
    // As if it had been killed amid the third piece's line.
    let two: Vec<_> = kept.split_inclusive('\n').take(2).collect();
    let cut = two.concat() + "{\"piece\":\"12";
    std::fs::write(&file, cut).unwrap();
    assert_eq!(text(&arguments), whole);
    let mut lines: Vec<_> = std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
    let mut before: Vec<_> = kept.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    before.sort_unstable();
    assert_eq!(lines, before);
}

#[test]
fn what_cannot_be_is_said_with_what_to_do() {
    let refused = |arguments: &[&str]| {
        let output = burstlet(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let error = refused(&["tune", "flash-crowd", "--objective", "p95<30s"]);
    assert!(error.contains("set realNodes.price"), "{error}");
    let error = refused(&["tune", "stock-out", "--objective", "p95<1ms", "--seeds", "1", "--most", "12"]);
    assert!(error.contains("no base meets p95<1ms"), "{error}");
    let error = refused(&["replay", "nowhere"]);
    assert!(error.contains("no scenario \"nowhere\""), "{error}");
}
