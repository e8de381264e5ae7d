//! A kernel and its modules, out of a Debian package: an `ar` of a compressed `tar`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use lzma_rust2::XzReader;

use crate::ImageError;

/// How an `ar` begins.
const AR: &[u8] = b"!<arch>\n";
/// What stands in a bzImage at this place (Documentation/arch/x86/boot.rst).
const BZIMAGE: &[u8] = b"HdrS";
const BZIMAGE_AT: usize = 0x202;

/// Modules that a virtual machine needs, each after those that it needs itself.
const MODULES: [&str; 14] = [
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "virtio_console",
    "virtio-rng",
    "virtio_balloon",
    "evdev",
    "button",
];

/// A kernel, and those modules for a virtual machine that are not part of it.
#[derive(Debug)]
pub struct Kernel {
    /// The bzImage.
    pub image: Vec<u8>,
    /// Name and content, in the order of loading.
    pub modules: Vec<(&'static str, Vec<u8>)>,
}

/// Reads a kernel from a package, or a bare one, with modules from a folder if one is given.
pub fn read(path: &Path, modules: Option<&Path>) -> Result<Kernel, ImageError> {
    let mut file = File::open(path).map_err(ImageError::of(path))?;
    let mut head = Vec::new();
    let length = (BZIMAGE_AT + BZIMAGE.len()) as u64;
    file.by_ref().take(length).read_to_end(&mut head).map_err(ImageError::of(path))?;
    if head.starts_with(AR) {
        let file = File::open(path).map_err(ImageError::of(path))?;
        return of_package(path, BufReader::new(file));
    }
    if head.get(BZIMAGE_AT..) != Some(BZIMAGE) {
        return Err(ImageError::NotAKernel { path: path.to_owned() });
    }
    let image = fs::read(path).map_err(ImageError::of(path))?;
    Ok(Kernel { image, modules: modules.map(of_folder).transpose()?.unwrap_or_default() })
}

fn of_package(path: &Path, package: impl Read) -> Result<Kernel, ImageError> {
    let wrong = ImageError::of(path);
    let incomplete = |missing: &str| ImageError::Incomplete { path: path.to_owned(), missing: missing.to_owned() };
    let mut archive = ar::Archive::new(package);
    while let Some(entry) = archive.next_entry() {
        let entry = entry.map_err(&wrong)?;
        let found = match entry.header().identifier() {
            b"data.tar.xz" => take(XzReader::new(BufReader::new(entry), false)),
            b"data.tar.zst" => take(zstd::Decoder::new(entry).map_err(&wrong)?),
            b"data.tar" => take(entry),
            _ => continue,
        };
        let (image, modules) = found.map_err(&wrong)?;
        let image = image.ok_or_else(|| incomplete("boot/vmlinuz"))?;
        return Ok(Kernel { image, modules: in_order(modules) });
    }
    Err(incomplete("data.tar"))
}

/// The kernel, and modules by their names.
type Found = (Option<Vec<u8>>, BTreeMap<&'static str, Vec<u8>>);

fn take(tar: impl Read) -> io::Result<Found> {
    let (mut image, mut modules) = (None, BTreeMap::new());
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with("vmlinuz-") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            image = Some(bytes);
        } else if let Some((module, compressed)) = module(name) {
            modules.insert(module, contents(&mut entry, compressed)?);
        }
        if image.is_some() && modules.len() == MODULES.len() {
            break;
        }
    }
    Ok((image, modules))
}

fn of_folder(folder: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, ImageError> {
    let mut modules = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(ImageError::of(folder))?.flatten() {
        let Some((module, compressed)) = entry.file_name().to_str().and_then(module) else { continue };
        let path = entry.path();
        let file = File::open(&path).map_err(ImageError::of(&path))?;
        modules.insert(module, contents(&mut BufReader::new(file), compressed).map_err(ImageError::of(&path))?);
    }
    Ok(in_order(modules))
}

/// One of [`MODULES`], by its file's name, and whether the file is compressed.
fn module(file: &str) -> Option<(&'static str, bool)> {
    let (name, compressed) = match file.strip_suffix(".ko.xz") {
        Some(name) => (name, true),
        None => (file.strip_suffix(".ko")?, false),
    };
    MODULES.iter().find(|module| **module == name).map(|module| (*module, compressed))
}

fn contents(file: &mut impl Read, compressed: bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match compressed {
        true => XzReader::new(BufReader::new(file), false).read_to_end(&mut bytes)?,
        false => file.read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

/// A module that is not there is part of the kernel.
fn in_order(mut modules: BTreeMap<&'static str, Vec<u8>>) -> Vec<(&'static str, Vec<u8>)> {
    MODULES.iter().filter_map(|name| modules.remove_entry(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn package(data: &[u8]) -> Vec<u8> {
        let mut builder = ar::Builder::new(Vec::new());
        for (name, bytes) in [(&b"debian-binary"[..], &b"2.0\n"[..]), (b"data.tar", data)] {
            builder.append(&ar::Header::new(name.to_vec(), bytes.len() as u64), bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn kernel_and_modules_are_taken_from_a_package_in_the_order_of_loading() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("linux.deb");
        let modules = "./lib/modules/6.1/kernel/drivers";
        let files = [
            (format!("{modules}/net/virtio_net.ko"), "net"),
            (format!("{modules}/net/e1000.ko"), "other"),
            ("./boot/vmlinuz-6.1".to_owned(), "kernel"),
            (format!("{modules}/virtio/virtio.ko"), "virtio"),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        fs::write(&path, package(&tar_of(&files))).unwrap();
        let kernel = read(&path, None).unwrap();
        assert_eq!(kernel.image, b"kernel");
        assert_eq!(kernel.modules, [("virtio", b"virtio".to_vec()), ("virtio_net", b"net".to_vec())]);

        fs::write(&path, package(&tar_of(&files[..2]))).unwrap();
        assert!(read(&path, None).unwrap_err().to_string().ends_with("boot/vmlinuz is not in it"));
    }

    #[test]
    fn a_bare_kernel_takes_its_modules_from_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bzImage");
        let mut image = vec![0; 4096];
        image[BZIMAGE_AT..][..4].copy_from_slice(BZIMAGE);
        fs::write(&path, &image).unwrap();
        fs::write(folder.path().join("virtio_blk.ko"), "blk").unwrap();
        let kernel = read(&path, Some(folder.path())).unwrap();
        assert_eq!((kernel.image, kernel.modules), (image, vec![("virtio_blk", b"blk".to_vec())]));
        assert!(read(&path, None).unwrap().modules.is_empty());

        fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(matches!(read(&path, None), Err(ImageError::NotAKernel { .. })));
    }
}
