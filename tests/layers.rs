//! Holds the source to the layers of the design: who may use whom, and that the engine stays pure.
//!
//! The tables below are the rule. The test reads every file of `src/` and `engine/src/`, finds the paths in it (also
//! those in grouped `use` lists and those that climb with `super::`), and names each one that crosses a layer it must not.

#![allow(clippy::unwrap_used, reason = "a test may fail by it, its helpers too")]

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// A crate's layers: each module, and the modules that it may use. Every module may use itself.
type Layers = &'static [(&'static str, &'static [&'static str])];

/// The core, each layer upon the one before.
const ENGINE: Layers = &[
    ("model", &[]),
    ("policy", &["model"]),
    ("placement", &["policy", "model"]),
    ("traffic", &["model"]),
    ("simulator", &["placement", "policy", "traffic", "model"]),
    // Seams for the tests' planted bugs; its macro leads nowhere without them.
    ("planted", &[]),
    ("lib", &[]),
];

/// The shell. `engine` stands for the crate `burstlet_engine`; an entry such as `engine::policy` for that module of it.
const SHELL: Layers = &[
    // Kubernetes in the engine's words.
    ("api", &["engine"]),
    // For everyone.
    ("telemetry", &["api"]),
    ("serve", &["telemetry"]),
    ("watch", &["api", "engine", "telemetry", "serve"]),
    // The way of a pod: admission, placer, extender, kubelet, provider. None knows another one.
    ("admission", &["watch", "api", "engine", "telemetry", "serve"]),
    ("placer", &["watch", "api", "engine", "telemetry", "serve"]),
    ("extender", &["watch", "api", "engine", "telemetry", "serve"]),
    // The kubelet runs what is bound and never asks why: no engine.
    ("kubelet", &["provider", "watch", "api", "telemetry", "serve"]),
    ("record", &["api", "engine", "telemetry"]),
    // A provider knows pods, quantities and clouds, nothing of the cluster's watches.
    ("provider", &["api", "engine::model", "telemetry", "serve"]),
    ("report", &["api", "engine", "telemetry"]),
    // What demo, replay, compare and tune read.
    ("scenario", &["record", "api", "engine"]),
    ("study", &["scenario", "engine"]),
    // What helps where nothing of the others runs.
    ("release", &["api", "engine"]),
    // What people look at; whoever the kubelet API lets in is let in the same way.
    ("page", &["placer", "kubelet", "report", "engine"]),
    // What binds them together.
    (
        "run",
        &[
            "page",
            "admission",
            "placer",
            "extender",
            "kubelet",
            "provider",
            "watch",
            "api",
            "engine",
            "telemetry",
            "serve",
        ],
    ),
    ("lab", &[EVERYTHING_BUT_CLI]),
    ("cli", &[EVERYTHING]),
    ("main", &[EVERYTHING]),
    ("lib", &[]),
];

/// Any module, and the engine.
const EVERYTHING: &str = "*";

/// Nothing may use `cli`, the trials neither.
const EVERYTHING_BUT_CLI: &str = "* but cli";

/// What the engine must not touch, as it has neither a clock nor a world: the same events give the same decisions.
const IMPURE: &[&str] = &[
    "burstlet",
    "chrono",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "jiff::tz::TimeZone::system",
    "k8s_openapi",
    "kube",
    "rand",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
];

#[test]
fn the_shell_keeps_to_its_layers() {
    let violations = violations_under("src", |path, text| layer_violations(SHELL, path, text));
    assert!(violations.is_empty(), "{}", listed(&violations));
}

#[test]
fn the_engine_keeps_to_its_layers() {
    let violations = violations_under("engine/src", |path, text| layer_violations(ENGINE, path, text));
    assert!(violations.is_empty(), "{}", listed(&violations));
}

#[test]
fn the_engine_has_no_clock_and_no_world() {
    let violations = violations_under("engine/src", impurities);
    assert!(violations.is_empty(), "{}", listed(&violations));
}

#[test]
fn the_engine_depends_on_nothing_that_has_a_clock_or_a_world() {
    let manifest = fs::read_to_string(root().join("engine/Cargo.toml")).unwrap();
    let names = manifest.lines().filter_map(|line| line.split(['=', '.', ' ']).next());
    let found = names.filter(|name| IMPURE.contains(&name.replace('-', "_").as_str())).collect::<Vec<_>>();
    assert!(found.is_empty(), "engine/Cargo.toml names {found:?}");
}

#[test]
fn a_planted_violation_is_found_in_every_spelling() {
    let found = |path: &str, text: &str| {
        let violations = layer_violations(SHELL, Path::new(path), text);
        violations.into_iter().map(|violation| format!("{}:{}", violation.line, violation.used)).collect::<Vec<_>>()
    };
    let kubelet = "kubelet/sync.rs";
    assert_eq!(found(kubelet, "use crate::placer::Placer;"), ["1:placer"]);
    assert_eq!(found(kubelet, "use crate::{\n    api::names,\n    placer::{self, Placer},\n};"), ["3:placer"]);
    assert_eq!(found(kubelet, "use super::super::placer;"), ["1:placer"]);
    assert_eq!(found(kubelet, "mod tests {\n    use super::super::super::placer;\n}"), ["2:placer"]);
    assert_eq!(found(kubelet, "fn f() {\n    crate::placer::go()\n}"), ["2:placer"]);
    assert_eq!(found(kubelet, "use burstlet_engine::placement::Ledger;"), ["1:engine::placement"]);
    assert_eq!(found("kubelet.rs", "use super::placer;"), ["1:placer"]);
    assert_eq!(found("lab/demo/mod.rs", "use crate::cli;"), ["1:cli"]);
    assert_eq!(found("api/names.rs", "use crate::lab::demo;"), ["1:lab"]);
    assert_eq!(found("provider/mod.rs", "use crate::watch;"), ["1:watch"]);
    assert_eq!(found("provider/mod.rs", "use crate::*;"), ["1:*"]);
}

#[test]
fn what_is_allowed_is_left_alone() {
    let allowed = |path: &str, text: &str| assert_eq!(layer_violations(SHELL, Path::new(path), text), [], "{text}");
    allowed("kubelet/sync.rs", "use crate::{kubelet::node, provider::Provider, watch::Pods};");
    allowed("kubelet/server/logs.rs", "use super::super::placer;");
    allowed("kubelet/sync.rs", "// use crate::placer;\n/* crate::placer /* nested */ crate::placer */");
    allowed(
        "kubelet/sync.rs",
        r##"const A: &str = "crate::placer \" crate::placer"; const B: &str = r#"crate::placer"#;"##,
    );
    allowed("kubelet/sync.rs", "fn f<'a>(c: char) -> &'a str { if c == '\"' { \"crate::placer\" } else { \"\" } }");
    allowed("placer/mod.rs", "use burstlet_engine::placement::Ledger;");
    allowed("cli/run.rs", "use crate::lab;");
}

#[test]
fn a_module_without_a_layer_is_asked_to_take_one() {
    let violations = layer_violations(SHELL, Path::new("misc/util.rs"), "");
    assert_eq!(listed(&violations), "misc/util.rs:1: misc has no layer; add it to the table in tests/layers.rs");
}

#[test]
fn a_planted_impurity_is_found_in_every_spelling() {
    let found = |text: &str| {
        let violations = impurities(Path::new("model/x.rs"), text);
        violations.into_iter().map(|violation| violation.used).collect::<Vec<_>>()
    };
    assert_eq!(found("use tokio::sync::mpsc;"), ["tokio::sync::mpsc"]);
    assert_eq!(found("use std::time::{Duration, Instant};"), ["std::time::Instant"]);
    assert_eq!(found("use std::{fs, fmt, time::{self, Duration}};"), ["std::fs", "std::time"]);
    assert_eq!(found("let now = std::time::SystemTime::now();"), ["std::time::SystemTime::now"]);
    assert_eq!(found("use std::time::*;"), ["std::time::*"]);
    assert_eq!(found("use std::{fmt, time::Duration};\nuse serde::Serialize;"), [""; 0]);
}

/// One crossing of a layer.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: PathBuf,
    line: usize,
    /// The module that has the path; empty where the module has no layer.
    user: String,
    /// What it uses.
    used: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, user, used } = self;
        write!(f, "{}:{line}: ", file.display())?;
        if user.is_empty() {
            write!(f, "{used} has no layer; add it to the table in tests/layers.rs")
        } else {
            write!(f, "{user} must not use {used}")
        }
    }
}

fn listed(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Paths of the file `path`, relative to its crate's source, that cross a layer.
fn layer_violations(layers: Layers, path: &Path, text: &str) -> Vec<Violation> {
    let module = module_of(path);
    let user = module.first().map_or_else(|| stem(path), String::clone);
    let violation =
        |line, user: &str, used: String| Violation { file: path.to_owned(), line, user: user.to_owned(), used };
    let Some((_, allowed)) = layers.iter().find(|(name, _)| *name == user) else {
        return vec![violation(1, "", user)];
    };
    let is_allowed = |used: &str| {
        let whole = used.split("::").next().unwrap_or_default();
        whole == user
            || allowed.iter().any(|entry| match *entry {
                EVERYTHING => true,
                EVERYTHING_BUT_CLI => used != "cli" && used != "*",
                entry => entry == whole || entry == used,
            })
    };
    let found = paths(&tokens(text)).into_iter();
    let crossing = found.filter_map(|found| Some((found.line, found.layer(&module, layers)?)));
    let mut violations = crossing
        .filter(|(_, used)| !is_allowed(used))
        .map(|(line, used)| violation(line, &user, used))
        .collect::<Vec<_>>();
    violations.dedup();
    violations
}

/// Paths of an engine's file that lead out of the pure core.
fn impurities(path: &Path, text: &str) -> Vec<Violation> {
    let is_impure = |used: &str| {
        let leads_to =
            |impure: &str| used.strip_prefix(impure).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        // A whole module under another name, or everything in it, could hide the clock.
        matches!(used, "std" | "std::*" | "std::time" | "std::time::*") || IMPURE.iter().copied().any(leads_to)
    };
    let used = paths(&tokens(text)).into_iter().map(|found| (found.line, found.segments.join("::")));
    let violation = |(line, used)| Violation { file: path.to_owned(), line, user: "the engine".to_owned(), used };
    used.filter(|(_, used)| is_impure(used)).map(violation).collect()
}

/// The module that a source file is: `a/b.rs` and `a/b/mod.rs` are `a::b`; `lib.rs` and `main.rs` are the root.
fn module_of(path: &Path) -> Vec<String> {
    let folders = path.parent().into_iter().flat_map(Path::components);
    let mut module = folders.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>();
    if !matches!(stem(path).as_str(), "mod" | "lib" | "main") {
        module.push(stem(path));
    }
    module
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A path as it is written, with groups taken apart.
#[derive(Debug)]
struct Found {
    line: usize,
    segments: Vec<String>,
    /// How many inline modules it stands in.
    depth: usize,
}

impl Found {
    /// The layer that the path leads to, if it leads out of its own file's surroundings.
    fn layer(&self, module: &[String], layers: Layers) -> Option<String> {
        let climbed = self.segments.iter().take_while(|segment| *segment == "super").count();
        let rest = match self.segments.first()?.as_str() {
            "crate" | "burstlet" => &self.segments[1..],
            "burstlet_engine" => {
                let module = self.segments.get(1).map_or_else(String::new, |name| format!("::{name}"));
                return Some(format!("engine{module}"));
            }
            "super" if climbed == module.len() + self.depth => &self.segments[climbed..],
            _ => return None,
        };
        // What the root itself holds, such as a macro, is no layer; all of the root is every layer.
        rest.first().filter(|name| *name == "*" || layers.iter().any(|(layer, _)| layer == name)).cloned()
    }
}

/// All paths of two segments and more.
fn paths(tokens: &[Token]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut braces = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "{" => braces.push(at >= 2 && tokens[at - 2].text == "mod"),
            "}" => drop(braces.pop()),
            _ => {}
        }
        let depth = braces.iter().filter(|is_module| **is_module).count();
        let begins = token.is_name() && (at == 0 || tokens[at - 1].text != "::");
        if begins && tokens.get(at + 1).is_some_and(|next| next.text == "::") {
            at = path(tokens, at, &[], depth, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads the path at `at` below `prefix`, each branch of its groups, and answers where it ends.
fn path(tokens: &[Token], mut at: usize, prefix: &[String], depth: usize, found: &mut Vec<Found>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut segments = prefix.to_vec();
    let mut line = tokens[at].line;
    loop {
        match text(at) {
            "{" => {
                at += 1;
                while !matches!(text(at), "}" | "") {
                    at = if text(at) == "," { at + 1 } else { path(tokens, at, &segments, depth, found) };
                }
                return at + 1;
            }
            // `a::{self}` is `a`.
            "self" if !prefix.is_empty() => {}
            _ if at < tokens.len() => {
                line = tokens[at].line;
                segments.push(text(at).to_owned());
            }
            _ => {}
        }
        let continues =
            text(at + 1) == "::" && tokens.get(at + 2).is_some_and(|next| next.is_name() || next.opens_or_globs());
        if continues {
            at += 2;
            continue;
        }
        found.push(Found { line, segments, depth });
        at += 1;
        if text(at) == "as" {
            at += 2;
        }
        return at;
    }
}

/// A name, `::`, or a single sign of the source; comments, texts and characters are left out.
#[derive(Debug)]
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }

    fn opens_or_globs(&self) -> bool {
        self.text == "{" || self.text == "*"
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment_length(rest),
            '"' => text_length(rest),
            'r' if is_raw_text(rest) => raw_text_length(rest),
            '\'' => character_length(rest),
            _ => {
                let is_word = |c: char| c.is_alphanumeric() || c == '_';
                let length = match rest.find(|c| !is_word(c)).unwrap_or(rest.len()) {
                    0 if rest.starts_with("::") => 2,
                    0 => first.len_utf8(),
                    length => length,
                };
                if !first.is_whitespace() {
                    tokens.push(Token { line, text: rest[..length].to_owned() });
                }
                length
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// Length of a block comment, with those inside it.
fn comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let ahead = &rest.as_bytes()[at..];
        if ahead.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if ahead.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn text_length(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = c == '\\' && !is_escaped,
        }
    }
    rest.len()
}

fn is_raw_text(rest: &str) -> bool {
    rest[1..].trim_start_matches('#').starts_with('"')
}

fn raw_text_length(rest: &str) -> usize {
    let hashes = rest[1..].len() - rest[1..].trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = 2 + hashes;
    rest[begin..].find(&end).map_or(rest.len(), |length| begin + length + end.len())
}

/// Length of a character, or of a lifetime's quote alone.
fn character_length(rest: &str) -> usize {
    let mut following = rest.char_indices().skip(1);
    match (following.next(), following.next()) {
        (Some((_, '\\')), Some((escaped, c))) => {
            let after = escaped + c.len_utf8();
            rest[after..].find('\'').map_or(rest.len(), |length| after + length + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}

fn violations_under(folder: &str, check: impl Fn(&Path, &str) -> Vec<Violation>) -> Vec<Violation> {
    let folder = root().join(folder);
    let files = rust_files(&folder);
    assert!(files.len() > 2, "no source under {}", folder.display());
    let relative = |file: &PathBuf| file.strip_prefix(&folder).unwrap().to_owned();
    files.iter().flat_map(|file| check(&relative(file), &fs::read_to_string(file).unwrap())).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
