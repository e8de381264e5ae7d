//! procmgr as a process, with real children.

mod access;
mod directory;
mod hostile;
mod lifecycle;
mod scene;
