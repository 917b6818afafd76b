//! `burstlet policy show`.

use burstlet_engine::policy::{Cap, EffectivePolicy, MoveOn, Place, Spend, TierRule, resolve::Governed};
use serde::Serialize;

use crate::{
    cli::{
        output::table,
        workload::{self, AskedArgs},
    },
    run::config::Config,
};

/// What holds for a workload.
#[derive(Debug, Serialize)]
struct Shown {
    governed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    fields: Vec<Line>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    field: String,
    value: String,
    from: String,
}

pub(super) async fn show(args: AskedArgs) -> anyhow::Result<()> {
    let client = args.cluster.client().await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let marked = workload::marked(&client, &namespace, &args.workload).await?;
    let (policies, _) = workload::policies(&client, &args.burstlet_namespace).await?;
    let found = policies.resolve(&marked.asked(), &Config::default_settings());
    let notes = found.notes.iter().map(ToString::to_string).collect();
    let shown = match &found.governed {
        Some(governed) => Shown {
            governed: true,
            policy: governed.policy.name.as_ref().map(ToString::to_string),
            fields: fields(governed),
            notes,
        },
        None => Shown { governed: false, policy: None, fields: Vec::new(), notes },
    };
    args.output.print(&shown, text)
}

fn text(shown: &Shown) -> String {
    let mut text = String::new();
    if shown.governed {
        let rows = shown.fields.iter().map(|Line { field, value, from }| [field.clone(), value.clone(), from.clone()]);
        text.push_str(&table(&["FIELD", "VALUE", "FROM"], rows));
    } else {
        text.push_str("not governed: its pods are plain pods on real nodes\n");
    }
    for note in &shown.notes {
        text.push_str("note: ");
        text.push_str(note);
        text.push('\n');
    }
    text
}

/// Each field with its value and where it comes from, in the order of a BurstPolicy.
fn fields(governed: &Governed) -> Vec<Line> {
    let EffectivePolicy { mode, base, move_on, tiers, count, move_back, budget, windows, priority, .. } =
        &governed.policy;
    let mut all =
        vec![("mode", mode.to_string()), ("base", base.pods.map_or("none".to_owned(), |pods| pods.to_string()))];
    let Cap { cpu, memory, .. } = base;
    all.extend(cpu.map(|cpu| ("baseResources.cpu", format!("{}m", cpu.0))));
    all.extend(memory.map(|memory| ("baseResources.memory", memory.0.to_string())));
    let order = if tiers.is_empty() {
        "all pools".to_owned()
    } else {
        tiers.iter().map(tier).collect::<Vec<_>>().join(" → ")
    };
    all.push(("tiers", order));
    let MoveOn { after, waiting, .. } = move_on;
    all.push(("moveOn.after", humantime::format_duration(*after).to_string()));
    all.push(("moveOn.waiting", format!("{waiting:?}")));
    all.push(("count.per", format!("{:?}", count.per)));
    all.push(("count.ignoreTerminating", count.ignore_terminating.to_string()));
    all.push(("count.ignorePrevious", count.ignore_previous.to_string()));
    match move_back {
        None => all.push(("moveBack.enabled", "false".to_owned())),
        Some(back) => {
            all.push(("moveBack.after", humantime::format_duration(back.after).to_string()));
            all.push(("moveBack.atOnce", back.at_once.to_string()));
            all.push(("moveBack.coolDown", humantime::format_duration(back.cool_down).to_string()));
        }
    }
    if let Some(budget) = budget {
        all.extend(budget.per_hour.as_ref().map(|spend| ("budget.perHour", amount(spend))));
        all.extend(budget.per_day.as_ref().map(|spend| ("budget.perDay", amount(spend))));
        all.push(("budget.exhausted", format!("{:?}", budget.exhausted)));
    }
    let open = windows.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    all.push(("windows", if open.is_empty() { "always".to_owned() } else { open }));
    all.push(("priority", priority.to_string()));
    let from = |field: &str| governed.origins.get(field).map_or("built in".to_owned(), ToString::to_string);
    all.into_iter().map(|(field, value)| Line { from: from(field), field: field.to_owned(), value }).collect()
}

fn amount(spend: &Spend) -> String {
    match spend {
        Spend::Money(money) => money.to_string(),
        Spend::PodMinutes(minutes) => format!("{minutes} pod-minutes"),
    }
}

fn tier(tier: &TierRule) -> String {
    let place = match &tier.place {
        Place::Pool(pool) => pool.to_string(),
        Place::Real { node_selector } if node_selector.is_empty() => "real".to_owned(),
        Place::Real { node_selector } => {
            let labels = node_selector.iter().map(|(key, value)| format!("{key}={value}"));
            format!("real({})", labels.collect::<Vec<_>>().join(","))
        }
    };
    if tier.cap == Cap::default() { place } else { format!("{place} (max {})", tier.cap) }
}
