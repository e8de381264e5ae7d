//! The image that a virtual machine boots: built without root, and the same for the same input.
//!
//! ```text
//!   kernel.lock ──▶ apt ──▶ package ──▶ vmlinuz, modules ─┐
//!   the executable ──▶ executable (loader, libraries) ────┼──▶ initramfs ──▶ FOLDER/{vmlinuz,initrd,memory.rom}
//!   a configuration ──────────────────────────────────────┘                         │
//!   mke2fs ──▶ disk: configuration, log, crash records ──────────────▶ machine: the QEMU command
//! ```
//!
//! An image is a folder of two files, as every boot loader and hypervisor takes them: a kernel, and an initramfs in which
//! the executable is `/init`; beside them is a ROM for machines that are
//! too small for both. What the executable does there is `procmgr::pid1`. Read [`image`] first.

pub mod apt;
pub mod disk;
pub mod error;
pub mod executable;
pub mod image;
pub mod initramfs;
pub mod lock;
pub mod machine;
pub mod package;
pub mod rom;

pub use error::ImageError;
