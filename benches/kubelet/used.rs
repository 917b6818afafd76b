//! What a process has used, as Linux tells it.

/// Clock ticks of `/proc/PID/stat` a second; the same on every Linux.
const TICKS: f64 = 100.0;

/// CPU time of the process and its threads since its start.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}
