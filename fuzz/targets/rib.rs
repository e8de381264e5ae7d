//! What a program may send to the RIB of its VR: any messages, in any order, from a program that attached, beside a BGP
//! whose routes nobody else may touch. The RIB takes or refuses them, keeps to its limits, and when the program is gone
//! everything is as it was.
#![no_main]

use std::net::IpAddr;

use fuzz::rib::{BGP, PROGRAM, World};
use libfuzzer_sys::fuzz_target;
use sdk::rib::RibRequest;

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    let before = world.state();
    let mut rest = data;
    while let Ok((request, after)) = postcard::take_from_bytes::<RibRequest>(rest) {
        // At most one record's worth of time for each byte that was read: an empty message is one byte.
        rest = after;
        world.request(PROGRAM, request);
        world.keeps_to_its_limits();
        if rest.is_empty() {
            break;
        }
    }
    // BGP is served as ever.
    let address = IpAddr::from([10, 0, 0, 1]);
    world.request(BGP, RibRequest::UntrackNextHop(address));
    world.request(BGP, RibRequest::TrackNextHop(address));
    assert!(world.told_bgp_of(address));
    world.program_leaves();
    assert_eq!(world.state(), before);
});
