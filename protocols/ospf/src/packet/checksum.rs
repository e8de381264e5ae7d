//! The two checksums: of packets (RFC 1071), and of LSAs (RFC 905 annex B, "Fletcher").

/// The Internet checksum over parts of even length, as to be written; 0 over a whole with the right checksum in it.
pub fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        // Four bytes at a time: what is folded below counts 16 bits higher words as if they were lower (RFC 1071 section 2).
        let (words, rest) = part.as_chunks::<4>();
        sum += words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum::<u64>();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_be_bytes(last));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The largest number of bytes after which the sums still fit into 32 bits without a remainder taken: RFC 1008.
const BLOCK: usize = 4102;

fn sums(bytes: &[u8]) -> (u32, u32) {
    let (mut c0, mut c1) = (0u32, 0u32);
    for block in bytes.chunks(BLOCK) {
        for byte in block {
            c0 += u32::from(*byte);
            c1 += c0;
        }
        c0 %= 255;
        c1 %= 255;
    }
    (c0, c1)
}

/// Whether bytes that contain their checksum are as they were written.
pub(super) fn fletcher_is_right(bytes: &[u8]) -> bool {
    sums(bytes) == (0, 0)
}

/// The checksum of bytes in which the two at `place` are zero.
pub(super) fn fletcher(bytes: &[u8], place: usize) -> u16 {
    let (c0, c1) = sums(bytes);
    let behind = (bytes.len() - place - 1) as u32 % 255;
    // Modulo 255, in which 255 stands for 0: a checksum of 0 would mean that there is none.
    let x = (behind * c0 + 255 - c1) % 255;
    let y = (510 - c0 - x) % 255;
    let not_zero = |sum: u32| if sum == 0 { 255 } else { sum as u16 };
    not_zero(x) << 8 | not_zero(y)
}
