//! What the system knows of the provider's processes: `/proc`, and signals to whole groups.
//!
//! Every process of the provider carries [`MARKER`] in its environment, and its children inherit it. So what belongs to
//! whom is seen even of a process that left its group, or whose provider is long dead, and no recycled number is
//! mistaken for one's own.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Environment variable that names the owner: the pod's folder.
pub(super) const MARKER: &str = "BURSTLET_PROCESS_POD";

/// A process group; its number is that of its first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Group(Pid);

impl Group {
    /// The group that a child leads.
    pub(super) fn led_by(child: Option<u32>) -> Option<Self> {
        Pid::from_raw(i32::try_from(child?).ok()?).map(Self)
    }

    /// Asks all of it to end.
    pub(super) fn terminate(self) {
        // One that is gone has nothing to be told.
        let _ = kill_process_group(self.0, Signal::TERM);
    }

    /// Ends all of it.
    pub(super) fn kill(self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// Ends a group when dropped.
#[derive(Debug)]
pub(super) struct KillOnDrop(pub(super) Group);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Ends every process whose marker is `folder`, or a folder in it. Repeats until there is none, because one may fork
/// while the others are looked for.
pub(super) fn sweep(folder: &Path) -> usize {
    let mut ended = 0;
    for _ in 0..10 {
        let marked = marked(folder);
        if marked.is_empty() {
            break;
        }
        ended += marked.len();
        for process in marked {
            let _ = kill_process(process, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    ended
}

fn marked(folder: &Path) -> Vec<Pid> {
    let marker = format!("{MARKER}={}", folder.display());
    let is_marked = |environment: &[u8]| {
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| {
            let rest = variable.strip_prefix(marker.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    };
    let own = rustix::process::getpid();
    let belongs = |process: &Pid| {
        *process != own && fs::read(format!("/proc/{process}/environ")).is_ok_and(|environment| is_marked(&environment))
    };
    processes().filter(belongs).collect()
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// What a group's processes use now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Used {
    /// CPU time of those that live, and of their children that have been waited for.
    pub(super) cpu: Duration,
    /// Resident memory in bytes.
    pub(super) memory: u64,
}

/// What every process group on the machine uses.
pub(super) fn used_by_group() -> HashMap<Group, Used> {
    let tick = Duration::from_secs(1) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100).max(1);
    let page = rustix::param::page_size() as u64;
    let mut used: HashMap<Group, Used> = HashMap::new();
    for process in processes() {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let Some((group, ticks, pages)) = parse_stat(&stat) else { continue };
        let entry = used.entry(group).or_default();
        entry.cpu += tick * ticks;
        entry.memory += pages * page;
    }
    used
}

/// Group, ticks of CPU and resident pages of a line of `/proc/PID/stat`.
fn parse_stat(stat: &str) -> Option<(Group, u32, u64)> {
    // The name before the last bracket may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let group = Group(Pid::from_raw(fields.get(2)?.parse().ok()?)?);
    let ticks = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    Some((group, ticks, fields.get(21)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_marked_process_is_swept_even_outside_its_group_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (own, others) = (folder.path().join("a"), folder.path().join("ab"));
        let sleep = |marker: &Path| {
            let script = "setsid sleep 600 & sleep 600; exit";
            Command::new("sh").args(["-c", script]).env(MARKER, marker).spawn().unwrap()
        };
        let (mut one, mut other) = (sleep(&own.join("c")), sleep(&others));
        while marked(&own).len() < 3 || marked(&others).len() < 3 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(sweep(&own) >= 3);
        assert!(!one.wait().unwrap().success());
        assert_eq!(other.try_wait().unwrap(), None);
        sweep(&others);
        other.wait().unwrap();
    }

    #[test]
    fn a_line_of_proc_is_read_whatever_the_programs_name() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 100 1000 55 18446744073709551615";
        assert_eq!(parse_stat(line), Some((Group(Pid::from_raw(42).unwrap()), 100, 55)));
        assert_eq!(parse_stat("42 (x) S 1"), None);
    }
}
