//! The HTML report and the live page in a real browser: headless Chromium draws them at a phone's and a desk's width, in light and in dark.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by it, its helpers too")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use burstlet::{
    page::page,
    placer::{Decided, Moment, Sight},
    report::{Subject, html_page},
};
use burstlet_engine::{
    model::{Bytes, MilliCpu, ObjectName, Resources, Timestamp},
    placement::{BudgetUse, Census, NodeSight, PoolSight, Quota},
    policy::{Budget, Exhausted, Money, Spend},
    simulator::{Load, Outcome, Plant, Played, Sample, Summary, TierUse},
};

const SUBJECT: Subject = Subject {
    name: "flash-crowd <b>& more</b>",
    about: "A crowd comes at noon: the base stays on real nodes, what the HPA adds bursts to two pools.",
    currency: "CNY",
};

/// A day with a wave and a crowd, in samples of 15 s.
fn day(workload: &str) -> Played {
    let sample = |index: u32| {
        let t = f64::from(index) * 15.0;
        let hour = t / 3600.0;
        let wave = 60.0 + 40.0 * ((hour - 14.0) / 24.0 * std::f64::consts::TAU).cos();
        let crowd = if (12.0..13.5).contains(&hour) { 340.0 * (1.0 - (hour - 12.0) / 1.5) } else { 0.0 };
        let rps = wave + crowd;
        let pods = |load: f64| (1..60).find(|pods| f64::from(*pods) * 8.0 >= load).unwrap_or(60_u32);
        let wanted = pods(rps);
        let ready = if index % 240 < 4 { wanted.saturating_sub(2) } else { wanted };
        let real = ready.min(6);
        let spot = (ready - real).min(20);
        let rest = ready - real - spot;
        let pools = BTreeMap::from([("eci-spot".into(), spot), ("eci".into(), rest)]);
        let lost = f64::from(index.saturating_sub(2880)).min(20.0);
        Sample {
            t,
            rps,
            wanted,
            ready,
            real,
            ready_real: real,
            pools: pools.clone(),
            ready_pools: pools,
            cost: f64::from(index) * 0.0021,
            load: Some(Load { served: t * 80.0, late: lost * 55.0, unserved: lost * 9.0, backlog: 0.0 }),
            delay_s: (index % 40 == 3).then(|| 3.0 + f64::from(index % 7)),
            ..Sample::default()
        }
    };
    let samples: Vec<_> = (0..5760).map(sample).collect();
    let used = |pod_s, cost| TierUse { pod_s, cost };
    let summary = Summary {
        peak: 55,
        burst_share: 0.4121,
        delay_p50_s: Some(3.2),
        delay_p95_s: Some(8.75),
        delay_p99_s: Some(9.0),
        base: 6,
        cost: 12.0939,
        tiers: BTreeMap::from([
            ("real".to_owned(), used(518_400.0, 0.0)),
            ("eci-spot".to_owned(), used(250_000.0, 7.1)),
            ("eci".to_owned(), used(113_400.0, 4.9939)),
        ]),
        plant: Some(Plant { requests: 6_912_000.0, late: 1100.0, unserved: 180.0, nodes_peak: 3, ..Plant::default() }),
        ..Summary::default()
    };
    Played { workload: workload.to_owned(), samples, summary, pods: Vec::new() }
}

fn outcome(workloads: &[&str]) -> Outcome {
    Outcome { seed: 7, workloads: workloads.iter().map(|name| day(name)).collect(), events: 1_234_567 }
}

/// A folder for the browser's profile and the drawings, which stay to be looked at.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn chromium(folder: &Path, arguments: &[&str], page: &Path) -> Output {
    let browser = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
        .expect("a chromium draws the report: apt-get install chromium");
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=5000", &profile])
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Draws the report in a frame of `width`, and measures it there.
const FRAME: &str = r#"<!DOCTYPE html><meta charset="utf-8"><style>body{margin:0}iframe{border:0;display:block}</style>
<iframe id="frame" width="WIDTH" height="HEIGHT"></iframe><pre id="told"></pre><script id="page" type="text/plain">PAGE</script>
<script>
const luminance = colour => colour.map(part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
const parts = text => text.match(/[\d.]+/g).map(Number);
const background = element => {
    for (; element; element = element.parentElement) {
        const found = parts(getComputedStyle(element).backgroundColor);
        if (found.length < 4 || found[3] > 0) return found.slice(0, 3);
    }
    return [255, 255, 255];
};
const frame = document.getElementById("frame");
frame.onload = () => {
    const page = frame.contentDocument, told = {};
    told.overflow = page.documentElement.scrollWidth - frame.clientWidth;
    told.clipped = [...page.querySelectorAll(".x span, .y span, .tiles dd, h1, h3")].filter(element => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && (box.left < -0.5 || box.right > frame.clientWidth + 0.5);
    }).length;
    told.overlapping = [...page.querySelectorAll(".x")].filter(axis => {
        const boxes = [...axis.children].map(mark => mark.getBoundingClientRect()).filter(box => box.width > 0);
        return boxes.some((box, index) => index > 0 && box.left < boxes[index - 1].right + 2);
    }).length;
    const text = [...page.querySelectorAll("h1,h2,h3,p,dt,dd,th,td,li,span,caption,summary")]
        .filter(element => element.textContent.trim() && element.getBoundingClientRect().width > 0);
    told.faintest = Math.min(...text.map(element => {
        const pair = [luminance(parts(getComputedStyle(element).color)), luminance(background(element))].sort();
        return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    }));
    told.charts = page.querySelectorAll("svg[role=img]").length;
    told.unnamed = [...page.querySelectorAll("svg")].filter(svg => !svg.querySelector("title").textContent || !svg.querySelector("desc").textContent).length;
    told.empty = [...page.querySelectorAll("svg")].filter(svg => svg.getBoundingClientRect().height < 100 || svg.querySelectorAll("path:not(.grid)").length === 0).length;
    told.tables = page.querySelectorAll("section table").length;
    told.unreachable = [...page.querySelectorAll(".wide")].filter(box => box.scrollWidth > box.clientWidth + 1 && box.closest("section") && box.tabIndex !== 0).length;
    told.ids = [...page.querySelectorAll("[id]")].length - new Set([...page.querySelectorAll("[id]")].map(element => element.id)).size;
    told.dark = luminance(background(page.body)) < 0.2;
    told.inks = [...page.querySelectorAll("svg[role=img] path:not(.grid):not(.rim)")].map(path => {
        const box = path.getBoundingClientRect(), style = getComputedStyle(path), ground = background(path.closest("svg"));
        const colour = parts(style.fill === "none" ? style.stroke : style.fill), clear = Number(style.fillOpacity);
        return {name: path.getAttribute("class"), box: [box.left, box.top, box.right, box.bottom], colour, ground, clear};
    }).filter(ink => ink.clear === 1 && ink.box[3] < frame.clientHeight && ink.box[2] - ink.box[0] > 4);
    document.getElementById("told").textContent = JSON.stringify(told);
};
frame.srcdoc = document.getElementById("page").textContent.replaceAll("<\\/script>", "</" + "script>");
</script>"#;

/// Looks at a picture of a page: how many of its pixels, where each ink should be, have that ink's colour, or are a third of
/// the way there from the ground's, as a fine line is.
const LOOK: &str = r#"<!DOCTYPE html><meta charset="utf-8"><img id="picture" src="data:image/png;base64,PICTURE"><pre id="told"></pre>
<script>
const inks = INKS, picture = document.getElementById("picture");
window.onload = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(picture, 0, 0);
    const dot = (one, other) => one.reduce((sum, part, index) => sum + part * other[index], 0);
    const seen = ({name, box, colour, ground}) => {
        const way = colour.map((part, index) => part - ground[index]);
        const [left, top] = [Math.max(0, Math.floor(box[0]) - 1), Math.max(0, Math.floor(box[1]) - 1)];
        const [width, height] = [Math.ceil(box[2]) + 1 - left, Math.ceil(box[3]) + 1 - top];
        const data = context.getImageData(left, top, width, height).data;
        let count = 0;
        for (let at = 0; at < data.length; at += 4) {
            const gone = ground.map((part, index) => data[at + index] - part), share = dot(gone, way) / dot(way, way);
            count += share >= 0.3 && gone.every((part, index) => Math.abs(part - share * way[index]) <= 24);
        }
        return {name, count, width, height};
    };
    document.getElementById("told").textContent = JSON.stringify(inks.map(seen));
};
</script>"#;

/// Draws a page at this width and in this scheme, and answers what was measured; nothing may overflow, be clipped, faint
/// or unnamed, and all that charts draw must be seen in the picture, in its colour.
fn drawn(name: &str, html: &str, (width, height, scheme): (u32, u32, &str)) -> serde_json::Value {
    let folder = folder(&format!("{name}-{width}-{scheme}"));
    let frame = FRAME
        .replace("WIDTH", &width.to_string())
        .replace("HEIGHT", &height.to_string())
        .replace("PAGE", &html.replace("</script>", "<\\/script>"));
    let page = folder.join("frame.html");
    fs::write(&page, frame).unwrap();
    fs::write(folder.join("report.html"), html).unwrap();
    let is_dark = scheme == "dark";
    let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(scheme == "light"));
    let picture = format!("--screenshot={}", folder.join("report.png").display());
    let size = format!("--window-size={width},{height}");
    let shot = chromium(&folder, &[&scheme, &picture, &size], &page);
    let dumped = chromium(&folder, &[&scheme, &size, "--dump-dom"], &page);
    for output in [&shot, &dumped] {
        let log = String::from_utf8_lossy(&output.stderr);
        let complaint = log.lines().find(|line| line.contains("CONSOLE"));
        assert_eq!(complaint, None, "{name} {width} {scheme}");
    }
    let told = told(&dumped);
    for key in ["overflow", "clipped", "overlapping", "unnamed", "empty", "ids"] {
        assert!(told[key].as_i64().unwrap() <= 0, "{name} {width} {scheme}: {key} in {told}");
    }
    assert!(told["faintest"].as_f64().unwrap() >= 4.5, "{name} {width} {scheme}: {told}");
    assert_eq!(told["dark"], is_dark, "{told}");
    // One moment alone is no chart yet.
    if name != "page-empty" {
        inks_are_seen(&folder, &told["inks"]);
    }
    told
}

/// What a page has written into itself.
fn told(dumped: &Output) -> serde_json::Value {
    let dom = String::from_utf8_lossy(&dumped.stdout).into_owned();
    let told = dom.split("<pre id=\"told\">").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap();
    serde_json::from_str(told).unwrap()
}

fn inks_are_seen(folder: &Path, inks: &serde_json::Value) {
    let picture = BASE64_STANDARD.encode(fs::read(folder.join("report.png")).unwrap());
    let page = folder.join("look.html");
    fs::write(&page, LOOK.replace("INKS", &inks.to_string()).replace("PICTURE", &picture)).unwrap();
    let seen = told(&chromium(folder, &["--dump-dom"], &page));
    let seen = seen.as_array().unwrap();
    assert!(!seen.is_empty(), "{}: no chart is in the picture", folder.display());
    for ink in seen {
        let [count, width, height] = ["count", "width", "height"].map(|key| ink[key].as_f64().unwrap());
        // A line is at least as long as its box is wide; of dashes about half is there, and an edge is no pure colour. Bars and
        // areas may be narrow.
        let is_line = ink["name"].as_str().unwrap().starts_with("line");
        let least = if is_line { width * 0.2 } else { (height - 2.0).min(6.0) };
        assert!(count >= least, "{}: {ink} is not seen", folder.display());
    }
}

const VIEWS: [(u32, u32, &str); 4] =
    [(390, 3200, "light"), (390, 3200, "dark"), (1280, 2400, "light"), (1280, 2400, "dark")];

#[test]
fn the_report_is_drawn_right_at_every_width_and_in_both_schemes() {
    for (name, workloads) in [("one", &["shop/web"][..]), ("two", &["shop/web", "shop/checkout"])] {
        let report = html_page(SUBJECT, &outcome(workloads));
        for view in VIEWS {
            let told = drawn(name, &report, view);
            assert_eq!(told["charts"], 5 * if workloads.len() > 1 { workloads.len() + 1 } else { 1 }, "{told}");
        }
    }
}

#[test]
fn the_report_of_a_replay_is_written_by_the_program_and_drawn_right() {
    for (scenario, workloads) in [("flash-crowd", 1), ("shared-pool", 3)] {
        let file = folder(scenario).join("written.html");
        let replayed = |file: &Path| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
            command.args(["replay", scenario, "--report"]).arg(file);
            command
        };
        assert!(replayed(&file).output().unwrap().status.success());
        let report = fs::read_to_string(&file).unwrap();
        let abroad = folder(scenario).join("abroad.html");
        let mut command = replayed(&abroad);
        command.envs([("TZ", "Asia/Kathmandu"), ("LANG", "de_DE.UTF-8"), ("LC_ALL", "tr_TR.UTF-8")]);
        assert!(command.output().unwrap().status.success());
        assert!(
            report == fs::read_to_string(&abroad).unwrap(),
            "{scenario}: the same bytes in every time zone and locale"
        );
        for view in [VIEWS[0], VIEWS[3]] {
            let told = drawn(scenario, &report, view);
            assert!(told["charts"].as_u64().unwrap() >= 4 * workloads, "{scenario}: {told}");
        }
    }
}

/// As on A4 paper at 96 dots an inch, from a browser that prefers the dark.
#[test]
fn on_paper_the_report_is_dark_ink_on_white_and_all_of_it_is_there() {
    let report = html_page(SUBJECT, &outcome(&["shop/web"]));
    let printed = report.replace("@media print", "@media all");
    assert_ne!(report, printed, "it has rules for paper");
    let told = drawn("print", &printed, (794, 2800, "paper"));
    assert_eq!(told["charts"], 5, "{told}");
}

/// Three workloads, a pool that takes pods and one that is out of stock, decisions, and an hour with a crowd.
fn sight() -> Sight {
    let now = 1_790_000_000_000_u64;
    let at = |ago: u64| Timestamp::from_millis(now - ago * 1000);
    let census = |waiting, base, strayed, burst| Census { waiting, base, strayed, burst, beyond: 0 };
    let money = |text: &str| text.parse::<Money>().unwrap();
    let pool = |name: &str, pods, stock, obstacle: Option<&str>| PoolSight {
        name: name.into(),
        nodes: (0..2)
            .map(|index| NodeSight { name: format!("{name}-{index}").as_str().into(), pods: pods / 2, most: 3000 })
            .collect(),
        pods,
        stock: Some(stock),
        requests: Resources { cpu: MilliCpu(500 * pods), memory: Bytes(pods << 30) },
        quota: Quota { pods: Some(2000), ..Quota::default() },
        obstacle: obstacle.map(str::to_owned),
        rate: Some(money("4.21337 CNY")),
        spent: Some((money("1.5 CNY"), money("37.99 CNY"))),
        budget: Some(Budget {
            per_hour: None,
            per_day: Some(Spend::Money(money("120 CNY"))),
            exhausted: Exhausted::Wait,
        }),
        used: vec![BudgetUse { period: "day", share: 0.32 }],
    };
    let moment = |index: usize| {
        let crowd = if (80..160).contains(&index) { 40 - index.abs_diff(120) } else { 0 };
        Moment { at: at((239 - index as u64) * 15), real: 6, cloud: crowd, waiting: crowd / 6 }
    };
    let reasons = [
        "base: 2 of 3 on real nodes",
        "burst to eci: the base of 3 is taken",
        "waits: eci-spot is out of stock; eci takes it in 40s",
    ];
    let decided = |index: usize| Decided {
        at: at(index as u64 * 7),
        pod: ObjectName::new("shop", &format!("web-6fbc7f894d-{index:05}")),
        word: ["Base", "Burst", "NoStock"][index % 3].to_owned(),
        reason: reasons[index % 3].to_owned(),
    };
    Sight {
        at: at(0),
        workloads: [
            (ObjectName::new("shop", "web"), census(2, 3, 0, 17)),
            (ObjectName::new("shop", "checkout"), census(0, 4, 1, 0)),
            (
                ObjectName::new("a-namespace-with-a-long-name", "a-deployment-with-a-very-long-name-indeed"),
                census(0, 1, 0, 5),
            ),
        ]
        .into(),
        pools: vec![pool("eci", 22, 1978, None), pool("eci-spot", 0, 0, Some("is out of stock"))],
        decisions: (0..20).map(decided).collect(),
        moments: (0..240).map(moment).collect(),
    }
}

#[test]
fn the_live_page_is_drawn_right_at_every_width_and_in_both_schemes() {
    let html = page(&sight());
    for view in VIEWS {
        let told = drawn("page", &html, view);
        assert_eq!(told["charts"], 1, "{told}");
        assert_eq!(told["tables"], 4, "{told}");
        assert_eq!(told["unreachable"], 0, "a table that scrolls must take the focus: {told}");
    }
    let first = Moment { at: Timestamp::from_millis(1), ..Moment::default() };
    drawn("page-empty", &page(&Sight { moments: [first].into(), ..Sight::default() }), VIEWS[0]);
}

#[test]
fn the_live_page_asks_nobody_but_itself() {
    let html = page(&sight());
    for needle in ["http://", "https://", "url(", "@import", "src=", "href=", "<form"] {
        assert!(!html.contains(needle), "{needle}");
    }
    assert!(html.contains("<html lang=\"en\">") && html.contains("37.99 CNY"));
}

#[test]
fn a_report_is_one_file_that_asks_for_nothing() {
    let report = html_page(SUBJECT, &outcome(&["shop/web"]));
    for needle in ["<script", "http://", "https://", "url(", "@import", "src=", "href="] {
        assert!(!report.contains(needle), "{needle}");
    }
    assert!(report.contains("<h1>flash-crowd &lt;b&gt;&amp; more&lt;/b&gt;</h1>"));
    assert!(report.len() < 200_000, "{} bytes", report.len());
    assert_eq!(report, html_page(SUBJECT, &outcome(&["shop/web"])), "not the same bytes");
}

#[test]
fn a_run_without_moments_is_a_report_too() {
    let empty = Played { workload: "d/w".to_owned(), samples: vec![], summary: Summary::default(), pods: vec![] };
    let report = html_page(SUBJECT, &Outcome { seed: 0, workloads: vec![empty], events: 0 });
    assert!(!report.contains("NaN") && !report.contains("inf"), "{report}");
}
