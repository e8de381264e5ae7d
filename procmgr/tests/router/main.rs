//! procmgr as a process, with real children.

mod directory;
mod hostile;
mod lifecycle;
mod scene;
