//! What the tests of the executable share: whole routers of a test's own, networks of its own, programs in a VR.
//!
//! Everything here is gone when it is dropped, also when its test fails. What cannot be had ends the test, so these
//! functions panic where others would return an error. Read [`support`] first.

mod disk;
pub mod namespace;
pub mod preload;
pub mod support;

pub use disk::SmallDisk;
