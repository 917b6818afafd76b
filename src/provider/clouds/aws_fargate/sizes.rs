//! Fargate's sizes, and how a pod is rounded up to one.
//!
//! Source: ECS documentation, "Task CPU and memory". CPU is matched first, then memory; where memory does not fit, the next
//! CPU count that holds it.

use std::fmt;

use burstlet_engine::model::{Bytes, MilliCpu};

use crate::provider::{ProviderError, clouds::pod::invalid};

const MIB: u64 = 1 << 20;

/// CPU units, then memory in MiB: least, most, step.
const TABLE: [(u64, u64, u64, u64); 7] = [
    (256, 512, 2048, 512),
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16_384, 1024),
    (4096, 8192, 30_720, 1024),
    (8192, 16_384, 61_440, 4096),
    (16_384, 32_768, 122_880, 8192),
];

/// A size of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    asked: (MilliCpu, Bytes),
    /// CPU units: 1024 are a vCPU.
    pub cpu_units: u64,
    /// Memory.
    pub memory_mib: u64,
}

impl fmt::Display for Chosen {
    /// Such as `1500m CPU, 3072 MiB rounded up to 2048 CPU units, 4096 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, memory) = self.asked;
        if units(cpu) != self.cpu_units || memory.0 != self.memory_mib * MIB {
            write!(f, "{}m CPU, {} MiB rounded up to ", cpu.0, memory.0.div_ceil(MIB))?;
        }
        write!(f, "{} CPU units, {} MiB", self.cpu_units, self.memory_mib)
    }
}

fn units(cpu: MilliCpu) -> u64 {
    cpu.0.saturating_mul(1024).div_ceil(1000)
}

/// The smallest size that holds both.
pub fn round_up(cpu: MilliCpu, memory: Bytes) -> Result<Chosen, ProviderError> {
    let (wanted_units, wanted_mib) = (units(cpu), memory.0.div_ceil(MIB));
    for (cpu_units, least, most, step) in TABLE {
        if cpu_units < wanted_units || most < wanted_mib {
            continue;
        }
        // 256 units take 512, 1024 and 2048 MiB, but not 1536.
        let mib = if cpu_units == 256 && wanted_mib > 1024 {
            most
        } else {
            least + wanted_mib.saturating_sub(least).div_ceil(step) * step
        };
        return Ok(Chosen { asked: (cpu, memory), cpu_units, memory_mib: mib });
    }
    let text = format!("{}m CPU and {wanted_mib} MiB are beyond the largest size, 16 vCPU and 122880 MiB", cpu.0);
    Err(invalid("resources", text))
}

/// Whether a task may have exactly this size.
pub fn is_size(cpu_units: u64, memory_mib: u64) -> bool {
    let row = TABLE.iter().find(|(units, ..)| *units == cpu_units);
    row.is_some_and(|(units, least, most, step)| {
        (*least..=*most).contains(&memory_mib)
            && (memory_mib - least).is_multiple_of(*step)
            && !(*units == 256 && memory_mib == 1536)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(cpu: u64, mib: u64) -> String {
        round_up(MilliCpu(cpu), Bytes(mib * MIB)).map_or_else(|error| error.to_string(), |chosen| chosen.to_string())
    }

    #[test]
    fn pods_are_rounded_up_to_the_table() {
        assert_eq!(rounded(0, 0), "0m CPU, 0 MiB rounded up to 256 CPU units, 512 MiB");
        assert_eq!(rounded(250, 1025), "250m CPU, 1025 MiB rounded up to 256 CPU units, 2048 MiB");
        assert_eq!(rounded(1000, 2048), "1024 CPU units, 2048 MiB");
        assert_eq!(rounded(1000, 9000), "1000m CPU, 9000 MiB rounded up to 2048 CPU units, 9216 MiB");
        assert_eq!(rounded(5000, 17_000), "5000m CPU, 17000 MiB rounded up to 8192 CPU units, 20480 MiB");
        assert!(rounded(17_000, 1).contains("beyond the largest size"));
    }

    #[test]
    fn every_rounded_size_is_one_of_the_table() {
        for cpu in (0..16_000).step_by(300) {
            for mib in (0..122_000).step_by(700) {
                let Chosen { cpu_units, memory_mib, .. } = round_up(MilliCpu(cpu), Bytes(mib * MIB)).unwrap();
                assert!(is_size(cpu_units, memory_mib), "{cpu_units} {memory_mib}");
            }
        }
        assert!(!is_size(256, 1536) && !is_size(300, 512) && !is_size(1024, 512));
    }
}
