//! OSPF against itself: networks of cores under one virtual clock, and a peer that the test plays.

mod network;
mod peer;

mod appendices;
mod areas;
mod broadcast;
mod convergence;
mod coverage;
mod externals;
mod figures;
mod grace;
mod hostile;
mod instances;
mod lsas;
mod recorded;
mod routing;
mod sections;
