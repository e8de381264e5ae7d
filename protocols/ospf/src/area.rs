//! An area: its configuration, its database, its shortest paths.

use linkstate::Spf;

use crate::config::{AreaConfig, AreaKind};
use crate::lsdb::Lsdb;
use crate::packet::{LsaType, Options};
use crate::topology::Topology;

/// An area of this router.
#[derive(Debug)]
pub struct Area {
    /// Its block of the configuration.
    pub config: AreaConfig,
    /// Its database.
    pub lsdb: Lsdb,
    /// Its shortest paths.
    pub spf: Spf,
    /// What the vertices of their graph stand for.
    pub topology: Topology,
}

impl Area {
    /// An area of which nothing is known.
    pub fn new(config: AreaConfig) -> Self {
        Self { config, lsdb: Lsdb::default(), spf: Spf::default(), topology: Topology::default() }
    }

    /// Options of what is said in it: RFC 2328 section A.2.
    pub fn options(&self) -> Options {
        match self.config.kind {
            AreaKind::Normal => Options::E | Options::O,
            AreaKind::Stub => Options::O,
            AreaKind::Nssa => Options::NP | Options::O,
        }
    }

    /// Options of hellos: both sides must agree on E and N.
    pub fn hello_options(&self) -> Options {
        match self.config.kind {
            AreaKind::Normal => Options::E,
            AreaKind::Stub => Options::default(),
            AreaKind::Nssa => Options::NP,
        }
    }

    /// Whether LSAs of a type are flooded in it: RFC 2328 section 3.6, RFC 3101 section 2.3, RFC 5250 section 3.
    pub fn takes(&self, kind: LsaType) -> bool {
        match kind {
            LsaType::External | LsaType::OpaqueAs => self.config.kind == AreaKind::Normal,
            LsaType::Nssa => self.config.kind == AreaKind::Nssa,
            LsaType::Router
            | LsaType::Network
            | LsaType::SummaryNetwork
            | LsaType::SummaryAsbr
            | LsaType::OpaqueLink
            | LsaType::OpaqueArea => true,
        }
    }
}
