//! OSPF against itself: networks of cores under one virtual clock, and a peer that the test plays.

mod network;
mod peer;

mod areas;
mod broadcast;
mod convergence;
mod externals;
mod grace;
mod hostile;
mod instances;
mod recorded;
mod sections;
