//! The router's executable as the image holds it: without what only debuggers read, and with the loader and the libraries
//! that a dynamic one needs. A static one makes the smallest image.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ImageError;
use crate::apt::said;

/// An ELF file of 64 bits, little endian, for x86-64 (elf(5)).
const MAGIC: &[u8] = &[0x7f, b'E', b'L', b'F', 2, 1];
const MACHINE: u16 = 62;
/// Where things stand in its header.
const MACHINE_AT: usize = 18;
const PROGRAM_HEADERS_AT: usize = 32;
const SECTIONS_AT: usize = 40;
const PROGRAM_HEADERS: usize = 56;
const SECTION_COUNT_AT: usize = 60;
/// Size of a program header, and where things stand in it.
const PROGRAM_HEADER_BYTES: usize = 56;
const OFFSET_AT: usize = 8;
const SIZE_AT: usize = 32;
/// Its type for the path of the loader.
const INTERPRETER: u32 = 3;

/// Files of the image, by the path that they have in it.
pub type Files = Vec<(PathBuf, Vec<u8>)>;

/// The executable, without sections, and all that it needs to run.
pub fn read(path: &Path) -> Result<(Vec<u8>, Files), ImageError> {
    let mut bytes = fs::read(path).map_err(ImageError::of(path))?;
    let loader = strip(&mut bytes).ok_or_else(|| ImageError::NotAnExecutable { path: path.to_owned() })?;
    let libraries = loader.map(|loader| libraries(&loader, path)).transpose()?.unwrap_or_default();
    Ok((bytes, libraries))
}

/// Cuts off everything behind what is loaded. Returns the loader's path, if there is one; `None`: it is no executable.
fn strip(elf: &mut Vec<u8>) -> Option<Option<PathBuf>> {
    if !elf.starts_with(MAGIC) || u16_at(elf, MACHINE_AT)? != MACHINE {
        return None;
    }
    let (first, count) = (offset(elf, PROGRAM_HEADERS_AT)?, u16_at(elf, PROGRAM_HEADERS)?);
    let (mut end, mut loader) = (0, None);
    for index in 0..usize::from(count) {
        let header = first.checked_add(index * PROGRAM_HEADER_BYTES)?;
        end = end.max(header + PROGRAM_HEADER_BYTES);
        let (begin, size) = (offset(elf, header + OFFSET_AT)?, offset(elf, header + SIZE_AT)?);
        let content = elf.get(begin..begin.checked_add(size)?)?;
        if u32::from_le_bytes(elf.get(header..header + 4)?.try_into().ok()?) == INTERPRETER {
            let path = content.split(|byte| *byte == 0).next()?;
            loader = Some(PathBuf::from(OsStr::from_bytes(path)));
        }
        end = end.max(begin + size);
    }
    elf.truncate(end);
    elf.get_mut(SECTIONS_AT..SECTIONS_AT + 8)?.fill(0);
    elf.get_mut(SECTION_COUNT_AT..SECTION_COUNT_AT + 4)?.fill(0);
    Some(loader)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn offset(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?)).ok()
}

/// The loader and the libraries that it finds for the executable, which is not run.
fn libraries(loader: &Path, executable: &Path) -> Result<Files, ImageError> {
    let mut command = Command::new(loader);
    command.arg("--list").arg(executable).stdin(Stdio::null());
    let output = command.output().map_err(ImageError::of(loader))?;
    let list = said("the loader", &output)?;
    let mut paths = vec![loader.to_owned()];
    // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)`; the kernel's own has no path.
    paths.extend(list.lines().filter_map(|line| {
        let (_, found) = line.split_once(" => ")?;
        let (path, _) = found.rsplit_once(" (")?;
        Some(PathBuf::from(path)).filter(|path| path != loader)
    }));
    let read = |path: PathBuf| fs::read(&path).map_err(ImageError::of(&path)).map(|bytes| (path, bytes));
    paths.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_runs_without_its_sections_and_its_libraries_are_found() {
        let own = std::env::current_exe().unwrap();
        let (bytes, files) = read(&own).unwrap();
        assert!(bytes.len() < fs::metadata(&own).unwrap().len() as usize, "symbols are gone");
        let names: Vec<_> = files.iter().map(|(path, _)| path.file_name().unwrap().to_string_lossy()).collect();
        assert!(names.iter().any(|name| name.starts_with("ld-linux")), "{names:?}");
        assert!(names.iter().any(|name| name.starts_with("libc.so")), "{names:?}");

        let folder = tempfile::tempdir().unwrap();
        let stripped = folder.path().join("stripped");
        // Copied first, so that the new file may be executed.
        fs::copy(&own, &stripped).unwrap();
        fs::write(&stripped, &bytes).unwrap();
        assert!(Command::new(&stripped).arg("--list").output().unwrap().status.success());
    }

    #[test]
    fn what_is_no_executable_is_refused() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        for wrong in [&b"#!/bin/sh\n"[..], &own[..50], &own[..64], b""] {
            assert_eq!(strip(&mut wrong.to_vec()), None);
        }
        let mut arm = own[..4096].to_vec();
        arm[MACHINE_AT] = 183;
        assert_eq!(strip(&mut arm), None);
    }
}
