//! The sizes that ECI sells by vCPU and memory.

use crate::provider::clouds::Resources;

/// vCPU in thousandths, and the memory that goes with it, in GiB halves so that 0.5 GiB is whole.
const TABLE: [(u64, &[u64]); 12] = [
    (250, &[1, 2]),
    (500, &[2, 4]),
    (1_000, &[4, 8, 16]),
    (2_000, &[2, 4, 8, 16, 32]),
    (4_000, &[4, 8, 16, 32, 64]),
    (8_000, &[8, 16, 32, 64, 128]),
    (12_000, &[24, 48, 96, 192]),
    (16_000, &[32, 64, 128, 256]),
    (24_000, &[48, 96, 192, 384]),
    (32_000, &[64, 128, 256, 512]),
    (52_000, &[192, 384, 768]),
    (64_000, &[256, 512, 1024]),
];

const HALF_GIB: u64 = 512 << 20;

/// What a pod gets that asks for nothing: 2 vCPU and 4 GiB.
pub const DEFAULT: Resources = resources(2_000, 4 << 30);

/// The largest size in the table: 64 vCPU and 512 GiB.
pub const LARGEST: Resources = resources(64_000, 512 << 30);

/// The smallest that spot instances come in: 2 vCPU.
pub const SPOT_LEAST: Resources = resources(2_000, 0);

/// So many thousandths of a vCPU, and bytes.
pub const fn resources(cpu: u64, memory: u64) -> Resources {
    use crate::provider::clouds::{Bytes, MilliCpu};
    Resources { cpu: MilliCpu(cpu), memory: Bytes(memory) }
}

/// Every size, least vCPU first, then least memory.
pub fn sizes() -> impl Iterator<Item = Resources> {
    TABLE.into_iter().flat_map(|(cpu, halves)| halves.iter().map(move |half| resources(cpu, half * HALF_GIB)))
}

/// The size that ECI makes of `asked`: the first one that holds it, or the default where nothing is asked for. `None`
/// beyond the table.
pub fn round_up(asked: Resources) -> Option<Resources> {
    if asked == Resources::default() {
        return Some(DEFAULT);
    }
    sizes().find(|size| asked.fits(*size))
}

/// vCPU as the API writes it, such as `0.25`.
pub fn vcpu(size: Resources) -> f64 {
    exact(size.cpu.0) / 1000.0
}

/// Memory in GiB as the API writes it, such as `0.5`.
pub fn gib(size: Resources) -> f64 {
    exact(size.memory.0 >> 20) / 1024.0
}

#[expect(clippy::cast_precision_loss, reason = "thousandths of a core and MiB are far below 2^52")]
fn exact(number: u64) -> f64 {
    number as f64
}

/// `2-4.0Gi`, as ECI's annotation of an instance's size has it.
pub fn shown(size: Resources) -> String {
    format!("{}-{:?}Gi", vcpu(size), gib(size))
}

/// The size in words, and what was asked for where that is another one.
pub fn told(asked: Resources, size: Resources) -> String {
    let words = |size: Resources| format!("{} vCPU, {} GiB", vcpu(size), gib(size));
    if asked == size { words(size) } else { format!("{} rounded up to {}", words(asked), words(size)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn what_is_asked_for_is_rounded_up_to_the_next_size() {
        let cases = [
            ((100, GIB / 8), (250, GIB / 2)),
            ((250, GIB), (250, GIB)),
            ((300, GIB), (500, GIB)),
            ((1_000, 16 * GIB), (2_000, 16 * GIB)),
            ((3_000, 5 * GIB), (4_000, 8 * GIB)),
            ((40_000, 10 * GIB), (52_000, 96 * GIB)),
            ((0, 300 * GIB), (52_000, 384 * GIB)),
        ];
        for ((cpu, memory), (got_cpu, got_memory)) in cases {
            assert_eq!(round_up(resources(cpu, memory)), Some(resources(got_cpu, got_memory)), "{cpu} {memory}");
        }
    }

    #[test]
    fn nothing_asked_for_is_the_default_and_too_much_is_refused() {
        assert_eq!(round_up(resources(0, 0)), Some(DEFAULT));
        assert_eq!(round_up(resources(64_001, 0)), None);
        assert_eq!(round_up(resources(0, 513 * GIB)), None);
        assert_eq!(sizes().last(), Some(LARGEST));
    }

    #[test]
    fn sizes_are_shown_as_the_annotation_has_them() {
        assert_eq!(shown(DEFAULT), "2-4.0Gi");
        assert_eq!(shown(resources(250, GIB / 2)), "0.25-0.5Gi");
        assert_eq!(told(resources(1_500, 3 * GIB), DEFAULT), "1.5 vCPU, 3 GiB rounded up to 2 vCPU, 4 GiB");
        assert_eq!(told(DEFAULT, DEFAULT), "2 vCPU, 4 GiB");
    }
}
