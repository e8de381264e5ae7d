//! Each VR has addresses and names of its own.

use crate::support::{CABLE_PORTS, Router, matching, sum};

/// Two VRs that have the same addresses on the ports of two cables, one of them that of [`CABLE_PORTS`], and a third VR
/// behind each cable.
const OVERLAP: &str = "
linecard 0/0
 port 2
  driver cable local ./c.sock remote ./d.sock
 !
 port 3
  driver cable local ./d.sock remote ./c.sock
 !
!
vr red
 assign port 0/0/0
!
vr east
 assign port 0/0/1
!
vr blue
 assign port 0/0/2
!
vr west
 assign port 0/0/3
!
vr red
 interface Port0/0/0
  ipv4 address 10.0.0.1/24
 !
!
vr blue
 interface Port0/0/2
  ipv4 address 10.0.0.1/24
 !
!
vr east
 interface Port0/0/1
  ipv4 address 10.0.0.2/24
 !
 interface Loopback0
  ipv4 address 192.0.2.2/32
 !
!
vr west
 interface Port0/0/3
  ipv4 address 10.0.0.2/24
 !
!
vr red
 router static
  address-family ipv4 unicast
   192.0.2.2/32 10.0.0.2
  !
 !
!
vr blue
 router static
  address-family ipv4 unicast
   192.0.2.2/32 10.0.0.2
  !
 !
!
";

#[test]
fn two_vrs_with_the_same_addresses_do_not_disturb_each_other() {
    let router = Router::up("overlap", &[CABLE_PORTS, OVERLAP].concat());
    for vr in ["red", "blue"] {
        router.wait_for_row("show fib", &[("vr", vr), ("prefix", "192.0.2.2/32"), ("action", "forward")]);
        let ping = router.sh(&format!("ping vr {vr} 10.0.0.2 count 1"));
        assert_eq!(ping["received"], 1, "{vr}: {ping}");
    }
    let arp = router.sh("show arp");
    let neighbor = |vr| matching(&arp, &[("vr", vr), ("address", "10.0.0.2")])[0]["mac"].clone();
    assert_ne!(neighbor("red"), neighbor("blue"), "each has its own neighbor: {arp}");
    // Only red's neighbor has the address behind it: blue's same route leads to another router.
    assert_eq!(router.sh("ping vr red 192.0.2.2 count 1")["received"], 1);
    let failed = router.try_sh("ping vr blue 192.0.2.2 count 1");
    assert_eq!(failed.status.code(), Some(1));
}

/// Red and blue speak BGP from loopback to loopback.
const LOOPBACKS: &str = "
vr red
!
vr blue
!
connect red blue
!
vr red
 interface blue
  ipv4 address 10.0.0.0/31
 !
 interface Loopback0
  ipv4 address 192.0.2.1/32
 !
 router static
  address-family ipv4 unicast
   192.0.2.2/32 10.0.0.1
   198.51.100.0/24 Null0
  !
 !
 route-policy PASS
  pass
 end-policy
 !
 router bgp 64501
  bgp router-id 192.0.2.1
  address-family ipv4 unicast
   network 198.51.100.0/24
  !
  neighbor 192.0.2.2
   remote-as 64502
   update-source Loopback0
   ebgp-multihop 2
   address-family ipv4 unicast
    route-policy PASS in
    route-policy PASS out
   !
  !
 !
!
vr blue
 interface red
  ipv4 address 10.0.0.1/31
 !
 interface Loopback0
  ipv4 address 192.0.2.2/32
 !
 router static
  address-family ipv4 unicast
   192.0.2.1/32 10.0.0.0
   203.0.113.0/24 Null0
  !
 !
 route-policy PASS
  pass
 end-policy
 !
 router bgp 64502
  bgp router-id 192.0.2.2
  address-family ipv4 unicast
   network 203.0.113.0/24
  !
  neighbor 192.0.2.1
   remote-as 64501
   update-source Loopback0
   ebgp-multihop 2
   address-family ipv4 unicast
    route-policy PASS in
    route-policy PASS out
   !
  !
 !
!
";

#[test]
fn a_session_from_loopback_to_loopback_goes_over_the_channel() {
    let router = Router::up("loopbacks", LOOPBACKS);
    for (vr, neighbor) in [("red", "192.0.2.2"), ("blue", "192.0.2.1")] {
        let wanted = [("vr", vr), ("neighbor", neighbor), ("state", "Established"), ("prefixes_received", "1")];
        router.wait_for_row("show bgp summary", &wanted);
    }
    let route =
        router.wait_for_row("show route", &[("vr", "blue"), ("prefix", "198.51.100.0/24"), ("protocol", "bgp")]);
    assert_eq!(route["next_hops"][0]["interface"], "red", "{route}");
    let sides = router.sh("show inter-vr");
    assert!(sum(&sides, "vrfib_hits") >= 1 && sum(&sides, "connections") == 2, "{sides}");
    let counters = router.sh("show stack counters");
    assert_eq!(sum(&counters, "packets_sent") + sum(&counters, "packets_received"), 0, "{counters}");
}

#[test]
fn a_vr_named_like_an_interface_needs_the_long_form() {
    let config = |interface: &str| {
        format!(
            "vr red\n!\nvr Loopback0\n!\nconnect red Loopback0\n!\nvr red\n interface {interface}\n  \
             ipv4 address 10.0.0.0/31\n !\n!\nvr Loopback0\n interface red\n  ipv4 address 10.0.0.1/31\n !\n!\n"
        )
    };
    let router = Router::up("words", &config("inter-vr Loopback0"));
    assert_eq!(router.sh("ping vr red 10.0.0.1 count 1")["received"], 1);
    let sides = router.sh("show inter-vr");
    assert_eq!(matching(&sides, &[("vr", "red"), ("peer_vr", "Loopback0"), ("state", "up")]).len(), 1, "{sides}");

    // Without the long form it is red's own loopback, and nothing answers behind it.
    let other = Router::up("short", &config("Loopback0"));
    assert_eq!(other.try_sh("ping vr red 10.0.0.1 count 1").status.code(), Some(1));
}
