//! What a machine says that has too little memory for the kernel itself.
//!
//! The kernel moves to an address of its own before it looks how much memory there is. In a machine that is too small for that
//! it overwrites itself or what the image holds, and the machine starts again and again, or stands still, without a word:
//! nothing of ours could run. So an image has an option ROM, which the firmware runs before it looks for something to boot:
//!
//! ```text
//!   firmware ──▶ option ROM ──┬── enough ──▶ firmware ──▶ kernel ──▶ `/init`, which says what the router lacks
//!                             └── too little: says so on the serial line and the screen, and stands still
//! ```

/// Name of the file.
pub const ROM: &str = "memory.rom";

/// Its size, the smallest that there is: of blocks of 512 bytes one.
const ROM_BYTES: usize = 512;
/// The kernel's own part of what it takes to come as far as `/init`, in MiB; measured with the locked one. The image takes as
/// much again as it is large, packed and unpacked, since both lie in memory at that moment.
const KERNEL_MIB: u64 = 60;
/// Less than what a byte holds, which the code divides.
const MOST_MIB: u64 = 255;

/// The code, for a processor in real mode (16 bits). How much memory there is stands in the registers 34h and 35h of the CMOS,
/// in blocks of 64 KiB above 16 MiB. (The firmware, by int 15h, says less at this moment: it still uses some itself.)
#[rustfmt::skip]
const CODE: [u8; TEXTS_AT] = [
    0x55, 0xaa, 0x01,       // an option ROM of one block; its entry is what follows
    0x60,                   //         pusha
    0x1e,                   //         push ds
    0xb0, 0x35,             //         mov al, 0x35
    0xe6, 0x70,             //         out 0x70, al
    0xe4, 0x71,             //         in al, 0x71
    0x88, 0xc4,             //         mov ah, al
    0xb0, 0x34,             //         mov al, 0x34
    0xe6, 0x70,             //         out 0x70, al
    0xe4, 0x71,             //         in al, 0x71
    0x3d, 0x00, 0x00,       //         cmp ax, LEAST       ; at LEAST_AT
    0x73, 0x31,             //         jae enough
    0xc1, 0xe8, 0x04,       //         shr ax, 4           ; in MiB
    0x83, 0xc0, 0x10,       //         add ax, 16
    0x0e,                   //         push cs
    0x1f,                   //         pop ds
    0xfc,                   //         cld
    0xb1, 0x0a,             //         mov cl, 10
    0xbf, 0x6c, 0x00,       //         mov di, DIGITS_END
    0x30, 0xe4,             // digit:  xor ah, ah
    0xf6, 0xf1,             //         div cl
    0x80, 0xc4, 0x30,       //         add ah, '0'
    0x4f,                   //         dec di
    0x88, 0x25,             //         mov [di], ah
    0x84, 0xc0,             //         test al, al
    0x75, 0xf2,             //         jnz digit
    0xbe, 0x6d, 0x00,       //         mov si, TEXTS_AT
    0xe8, 0x12, 0x00,       //         call print
    0x89, 0xfe,             //         mov si, di
    0xe8, 0x0d, 0x00,       //         call print
    0xbe, 0x00, 0x00,       //         mov si, the second text ; at SECOND_AT
    0xe8, 0x07, 0x00,       //         call print
    0xfa,                   // stop:   cli
    0xf4,                   //         hlt
    0xeb, 0xfc,             //         jmp stop
    0x1f,                   // enough: pop ds
    0x61,                   //         popa
    0xcb,                   //         retf
    0xac,                   // print:  lodsb
    0x84, 0xc0,             //         test al, al
    0x74, 0x15,             //         jz done
    0x50,                   //         push ax
    0xb4, 0x0e,             //         mov ah, 0x0e
    0x31, 0xdb,             //         xor bx, bx
    0xcd, 0x10,             //         int 0x10            ; on the screen
    0xba, 0xfd, 0x03,       //         mov dx, 0x3fd
    0xec,                   // busy:   in al, dx           ; the first serial line
    0xa8, 0x20,             //         test al, 0x20
    0x74, 0xfb,             //         jz busy
    0xb2, 0xf8,             //         mov dl, 0xf8
    0x58,                   //         pop ax
    0xee,                   //         out dx, al
    0xeb, 0xe6,             //         jmp print
    0xc3,                   // done:   ret
    0, 0, 0, 0, 0,          // room for the digits
    0,                      // DIGITS_END
];
/// Places in it.
const LEAST_AT: usize = 0x14;
const SECOND_AT: usize = 0x40;
const TEXTS_AT: usize = 0x6d;

/// The least memory, in MiB, in which the kernel comes as far as an image's `/init`.
pub fn least_mib(packed_bytes: u64, unpacked_bytes: u64) -> u64 {
    (KERNEL_MIB + (packed_bytes + unpacked_bytes).div_ceil(1 << 20)).min(MOST_MIB)
}

/// The ROM that stops a machine with less memory than `least_mib`, and says that `needed_mib` are needed.
pub fn build(least_mib: u64, needed_mib: u32) -> Vec<u8> {
    let mut rom = CODE.to_vec();
    rom.extend(format!("\r\nThis image needs {needed_mib} MiB of memory, and the machine has \0").bytes());
    let second = rom.len() as u16;
    rom.extend(*b": too little for the kernel to start. It stands still; give it more (QEMU: -m 128).\r\n\0");
    rom.resize(ROM_BYTES, 0);
    // In blocks of 64 KiB above 16 MiB.
    let least = (least_mib.saturating_sub(16) * 16) as u16;
    rom[LEAST_AT..][..2].copy_from_slice(&least.to_le_bytes());
    rom[SECOND_AT..][..2].copy_from_slice(&second.to_le_bytes());
    // The firmware runs what sums up to nothing.
    let sum = rom.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    rom[ROM_BYTES - 1] = sum.wrapping_neg();
    rom
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_that_a_firmware_runs() {
        let rom = build(78, 96);
        assert_eq!((rom.len(), &rom[..3]), (ROM_BYTES, &[0x55, 0xaa, 1][..]));
        assert_eq!(rom.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 256, 0);
        let text = |at: usize| rom[at..].split(|byte| *byte == 0).next().unwrap();
        assert!(text(TEXTS_AT).starts_with(b"\r\nThis image needs 96 MiB"));
        let second = u16::from_le_bytes([rom[SECOND_AT], rom[SECOND_AT + 1]]);
        assert!(text(second.into()).starts_with(b": too little"));
    }

    #[test]
    fn an_image_lies_in_memory_packed_and_unpacked() {
        assert_eq!(least_mib(0, 0), KERNEL_MIB);
        assert_eq!(least_mib(4 << 20, (13 << 20) + 1), KERNEL_MIB + 18);
        assert_eq!(least_mib(1 << 30, 1 << 30), MOST_MIB);
    }
}
