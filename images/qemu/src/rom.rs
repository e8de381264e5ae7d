//! What a machine says, and how it is told what to do, that has too little memory for the kernel itself.
//!
//! The kernel moves to an address of its own before it looks how much memory there is. In a machine that is too small for that
//! it overwrites itself or what the image holds, and the machine starts again and again, or stands still, without a word:
//! nothing of ours could run. So an image has an option ROM, which the firmware runs before it looks for something to boot:
//!
//! ```text
//!   firmware ──▶ option ROM ──┬── enough ──▶ firmware ──▶ kernel ──▶ `/init`, which says what the router lacks
//!                             └── too little: says so on the serial line and the screen ──▶ prompt ◀──▶ an operator
//!                                                                                            │ `reload`, `shutdown`
//! ```
//!
//! Its source is `rom/console.s`, `rom/code.rs` what an assembler makes of it: to build an image needs none.

#[rustfmt::skip]
mod code;

use code::CODE;

/// Name of the file.
pub const ROM: &str = "memory.rom";

/// Its size: two blocks, as its third byte says.
const ROM_BYTES: usize = 2 * 512;
/// The kernel's own part of what it takes to come as far as `/init`, in MiB; measured with the locked one. The image takes as
/// much again as it is large, packed and unpacked, since both lie in memory at that moment.
const KERNEL_MIB: u64 = 60;
/// The memory that the CMOS counts begins here, in MiB.
const COUNTED_FROM_MIB: u64 = 16;
/// The most that it can count, in blocks of 64 KiB.
const MOST_MIB: u64 = COUNTED_FROM_MIB + u16::MAX as u64 / BLOCKS_PER_MIB;
const BLOCKS_PER_MIB: u64 = 16;
/// Places in the code: the words `least` and `needed`.
const LEAST_AT: usize = 5;
const NEEDED_AT: usize = 7;

/// The least memory, in MiB, in which the kernel comes as far as an image's `/init`.
pub fn least_mib(packed_bytes: u64, unpacked_bytes: u64) -> u64 {
    (KERNEL_MIB + (packed_bytes + unpacked_bytes).div_ceil(1 << 20)).min(MOST_MIB)
}

/// The ROM that stops a machine with less memory than `least_mib`, and says that `needed_mib` are needed.
pub fn build(least_mib: u64, needed_mib: u64) -> Vec<u8> {
    let mut rom = CODE.to_vec();
    rom.resize(ROM_BYTES, 0);
    let blocks = least_mib.saturating_sub(COUNTED_FROM_MIB) * BLOCKS_PER_MIB;
    for (at, value) in [(LEAST_AT, blocks), (NEEDED_AT, needed_mib)] {
        let word = u16::try_from(value).unwrap_or(u16::MAX);
        rom[at..][..2].copy_from_slice(&word.to_le_bytes());
    }
    // The firmware runs what sums up to nothing.
    let sum = rom.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    rom[ROM_BYTES - 1] = sum.wrapping_neg();
    rom
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    #[test]
    fn it_is_one_that_a_firmware_runs() {
        let rom = build(78, 96);
        assert_eq!((rom.len(), &rom[..3]), (ROM_BYTES, &[0x55, 0xaa, 2][..]));
        assert_eq!(rom.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 256, 0);
        // The last byte is for the sum.
        assert!(CODE.len() < ROM_BYTES);
        let word = |at: usize| u16::from_le_bytes([rom[at], rom[at + 1]]);
        assert_eq!((word(LEAST_AT), word(NEEDED_AT)), ((78 - 16) * 16, 96));
        assert_eq!(CODE[LEAST_AT..][..4], [0; 4], "nothing else is overwritten");
    }

    #[test]
    fn an_image_lies_in_memory_packed_and_unpacked() {
        assert_eq!(least_mib(0, 0), KERNEL_MIB);
        assert_eq!(least_mib(4 << 20, (13 << 20) + 1), KERNEL_MIB + 18);
        assert_eq!(least_mib(1 << 32, 1 << 32), MOST_MIB);
        assert_eq!(build(MOST_MIB, 96)[LEAST_AT..][..2], [0xf0, 0xff]);
    }

    #[test]
    fn the_code_is_what_an_assembler_makes_of_the_source() {
        let name = "the_code_is_what_an_assembler_makes_of_the_source";
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rom/console.s");
        let (object, binary) = (folder.path().join("o"), folder.path().join("bin"));
        let Ok(assembled) = Command::new("as").args(["--32", "-o"]).arg(&object).arg(source).status() else {
            // Not `eprintln`: the test harness swallows what a passing test prints with it.
            writeln!(std::io::stderr(), "SKIPPED {name}: as is not installed").unwrap();
            return;
        };
        assert!(assembled.success());
        let copied = Command::new("objcopy").args(["-O", "binary", "-j", ".text"]).args([&object, &binary]).status();
        assert!(copied.unwrap().success());
        let made = std::fs::read(binary).unwrap();
        let hex = |line: &[u8]| line.iter().map(|byte| format!(" 0x{byte:02x},")).collect::<String>();
        let lines = made.chunks(16).map(|line| format!("   {}\n", hex(line))).collect::<String>();
        assert!(made == CODE, "code.rs should be:\n{lines}");
    }
}
