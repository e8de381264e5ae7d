//! The messages of the VR rooms: the VR connection manager, configuration, and `show` tables.
//!
//! An api crate holds messages and the data types in them, nothing that runs, so that no client links a server.
//!
//! | module | between |
//! | --- | --- |
//! | [`command`] | the words of the configuration, as data: a protocol declares them, `config` parses with them |
//! | [`config`] | `config` and every process that has a block of the configuration |
//! | [`show`] | the shell and every process that answers a table |
//! | [`manager`] | the VR connection manager, socket libraries and `rib` |
//! | [`interface`] | nobody: how interfaces are named, for all who read or print such a name |

pub mod command;
pub mod config;
pub mod interface;
pub mod manager;
pub mod show;
