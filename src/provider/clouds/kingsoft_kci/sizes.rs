//! KCI's sizes, and how a pod is rounded up to one.
//!
//! Source of the rule: Kingsoft's documentation, "Specify the size of a KCI pod". CPU is matched first, then memory
//! among the sizes of that CPU count; where memory does not fit there, the next size that holds it gives the CPU.

use std::fmt;

use burstlet_engine::model::{Bytes, MilliCpu};

use crate::{api::pool::kingsoft_kci::Size, provider::ProviderError, provider::clouds::pod::invalid};

const GIB: u64 = 1 << 30;

/// Each CPU count in thousandths, with its GiB of memory.
const TABLE: [(u64, &[u64]); 10] = [
    (250, &[1]),
    (500, &[1, 2]),
    (1000, &[1, 2, 4]),
    (2000, &[2, 4, 8, 16]),
    (4000, &[4, 8, 16, 32]),
    (8000, &[8, 16, 32, 64]),
    (16_000, &[16, 32, 64, 128]),
    (32_000, &[32, 64, 128, 256]),
    (64_000, &[64, 128, 256, 512]),
    (128_000, &[256, 512]),
];

/// A size of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// What the pod asked for.
    pub asked: (MilliCpu, Bytes),
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// GiB of memory.
    pub memory_gib: u64,
}

impl Chosen {
    /// CPUs, as the API takes them.
    pub fn cpu(&self) -> String {
        decimal(self.cpu_millis)
    }
}

impl fmt::Display for Chosen {
    /// Such as `1.5 vCPU, 3 GiB rounded up to 2 vCPU, 4 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, memory) = self.asked;
        if cpu.0 != self.cpu_millis || memory.0 != self.memory_gib * GIB {
            let thousandths = memory.0.saturating_mul(1000).div_ceil(GIB);
            write!(f, "{} vCPU, {} GiB rounded up to ", decimal(cpu.0), decimal(thousandths))?;
        }
        write!(f, "{} vCPU, {} GiB", self.cpu(), self.memory_gib)
    }
}

/// Thousandths as a decimal number without trailing zeros.
fn decimal(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The sizes in force: a pool's own, or the table.
#[derive(Debug, Clone)]
pub struct Sizes(Vec<(u64, Vec<u64>)>);

impl Sizes {
    /// `own` if it names any; ascending, whatever the order in which they are written.
    pub fn new(own: &[Size]) -> Self {
        let mut sizes: Vec<(u64, Vec<u64>)> = if own.is_empty() {
            TABLE.iter().map(|(cpu, memory)| (*cpu, memory.to_vec())).collect()
        } else {
            own.iter().map(|size| (size.cpu_millis, size.memory_gib.clone())).collect()
        };
        sizes.sort_unstable();
        for (_, memory) in &mut sizes {
            memory.sort_unstable();
        }
        Self(sizes)
    }

    /// The size that `cpu` and `memory` are rounded up to; 2 vCPU and 4 GiB where the pod asks for nothing.
    pub fn round_up(&self, cpu: MilliCpu, memory: Bytes) -> Result<Chosen, ProviderError> {
        let (wanted_cpu, wanted_gib) =
            if cpu.0 == 0 && memory.0 == 0 { (2000, 4) } else { (cpu.0, memory.0.div_ceil(GIB)) };
        let large_enough = self.0.iter().filter(|(count, _)| *count >= wanted_cpu);
        let mut fitting = large_enough.filter_map(|(count, sizes)| {
            let gib = sizes.iter().find(|gib| **gib >= wanted_gib)?;
            Some((*count, *gib))
        });
        let chosen =
            fitting.next().map(|(cpu_millis, memory_gib)| Chosen { asked: (cpu, memory), cpu_millis, memory_gib });
        chosen.ok_or_else(|| {
            let most_cpu = self.0.last().map_or(0, |(count, _)| *count);
            let most_gib = self.0.iter().filter_map(|(_, memory)| memory.last()).max().copied().unwrap_or(0);
            let text = format!(
                "{} vCPU and {wanted_gib} GiB are beyond the largest size, {} vCPU and {most_gib} GiB",
                decimal(wanted_cpu),
                decimal(most_cpu)
            );
            invalid("resources", text)
        })
    }

    /// Each size: CPUs and GiB.
    pub fn pairs(&self) -> impl Iterator<Item = (String, u64)> {
        self.0.iter().flat_map(|(cpu, memory)| memory.iter().map(|gib| (decimal(*cpu), *gib)))
    }

    /// The size of exactly this many CPUs and GiB, as the annotations name it.
    pub fn exactly(&self, cpu_millis: u64, memory_gib: u64) -> Option<Chosen> {
        let (_, memory) = self.0.iter().find(|(count, _)| *count == cpu_millis)?;
        let asked = (MilliCpu(cpu_millis), Bytes(memory_gib.checked_mul(GIB)?));
        memory.contains(&memory_gib).then_some(Chosen { asked, cpu_millis, memory_gib })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(cpu: u64, memory: u64) -> String {
        match Sizes::new(&[]).round_up(MilliCpu(cpu), Bytes(memory)) {
            Ok(chosen) => chosen.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// The first three are the documentation's own examples.
    #[test]
    fn pods_are_rounded_up_as_the_documentation_says() {
        assert_eq!(rounded(0, 0), "0 vCPU, 0 GiB rounded up to 2 vCPU, 4 GiB");
        assert_eq!(rounded(0, 7_800 * GIB / 1000), "0 vCPU, 7.8 GiB rounded up to 2 vCPU, 8 GiB");
        assert_eq!(rounded(2000, 8 * GIB), "2 vCPU, 8 GiB");
        assert_eq!(rounded(3000, GIB), "3 vCPU, 1 GiB rounded up to 4 vCPU, 4 GiB");
        assert_eq!(rounded(1000, 20 * GIB), "1 vCPU, 20 GiB rounded up to 4 vCPU, 32 GiB");
    }

    #[test]
    fn what_is_beyond_the_table_is_refused_with_its_limit() {
        assert!(rounded(300_000, GIB).contains("beyond the largest size, 128 vCPU and 512 GiB"));
        assert!(rounded(1000, 600 * GIB).contains("beyond the largest size"));
    }

    #[test]
    fn a_pool_may_bring_its_own_table() {
        let own = [Size { cpu_millis: 3000, memory_gib: vec![6, 3] }, Size { cpu_millis: 1000, memory_gib: vec![1] }];
        let sizes = Sizes::new(&own);
        assert_eq!(
            sizes.round_up(MilliCpu(1000), Bytes(2 * GIB)).unwrap().to_string(),
            "1 vCPU, 2 GiB rounded up to 3 vCPU, 3 GiB"
        );
        assert!(sizes.exactly(3000, 6).is_some() && sizes.exactly(3000, 4).is_none());
    }
}
