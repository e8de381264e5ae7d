//! IPv6 with the real tree: between two VRs by the channel and by a cable, and with a Linux host outside.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use ipc::IpProtocol;
use sockets::{Destination, LibraryEvent, ProcessMessage, Received, SocketError, SocketId, SocketKind};

use crate::lab::Lab;
use crate::namespace::{can_run, run};
use crate::program::{Program, connect, until};
use crate::support::{CABLE, Router, matching, sum};

/// Two VRs that are joined, beside the [`CABLE`]; routes from loopback to loopback lead over the channel.
const TWO_WAYS: &str = "
connect red blue
!
vr red
 interface blue
  ipv6 address 2001:db8:a::/127
 !
 interface Port0/0/0
  ipv6 address 2001:db8:b::1/64
 !
 interface Loopback0
  ipv6 address 2001:db8::1/128
 !
 router static
  address-family ipv6 unicast
   2001:db8::2/128 2001:db8:a::1
  !
 !
!
vr blue
 interface red
  ipv6 address 2001:db8:a::1/127
 !
 interface Port0/0/1
  ipv6 address 2001:db8:b::2/64
 !
 interface Loopback0
  ipv6 address 2001:db8::2/128
 !
 router static
  address-family ipv6 unicast
   2001:db8::1/128 2001:db8:a::
  !
 !
!
";

/// The router of [`TWO_WAYS`], once its ports have their addresses.
fn two_ways(name: &str) -> Router {
    let router = Router::up(name, &[CABLE, TWO_WAYS].concat());
    for (vr, prefix) in [("red", "2001:db8:b::/64"), ("blue", "2001:db8:b::/64"), ("red", "2001:db8::2/128")] {
        router.wait_for_row("show fib", &[("vr", vr), ("prefix", prefix), ("action", "forward")]);
    }
    router
}

fn link_local(router: &Router, vr: &str, interface: &str) -> IpAddr {
    let row = router.rows("show interfaces", &[("vr", vr), ("interface", interface)]).remove(0);
    let addresses = row["addresses"].as_array().unwrap().iter().filter_map(|address| address.as_str());
    let found = addresses.filter_map(|address| address.strip_suffix("/64")).find(|address| address.starts_with("fe80"));
    found.unwrap_or_else(|| panic!("{row}")).parse().unwrap()
}

/// Packets that the router sent, of all VRs.
fn packets(router: &Router) -> u64 {
    sum(&router.sh("show stack counters"), "packets_sent")
}

/// Bytes go both ways over a connection.
fn talk(red: &mut Program, blue: &mut Program, (socket, accepted): (SocketId, SocketId)) {
    red.library.send(socket, b"question").unwrap();
    until("the question", &mut [red, blue], |programs| (programs[1].read(accepted).0 == b"question").then_some(()));
    blue.library.send(accepted, b"answer").unwrap();
    until("the answer", &mut [red, blue], |programs| (programs[0].read(socket).0 == b"answer").then_some(()));
}

/// They talk from link-local address to link-local address of a link, by its interfaces in red and in blue.
fn by_link_local(
    router: &Router,
    red: &mut Program,
    (blue, listener): (&mut Program, SocketId),
    (own, far): (&str, &str),
) {
    let mut to = Destination::new(SocketAddr::new(link_local(router, "blue", far), 7000));
    to.local.interface = Some(own.parse().unwrap());
    let socket = red.library.open_socket(&mut red.reactor, to).unwrap();
    let mut accepted = None;
    let accepted = until("the link-local connection", &mut [red, blue], |programs| {
        let [red, blue] = programs else { unreachable!("two programs") };
        accepted = accepted.or(blue.library.accept(&mut blue.reactor, listener).unwrap());
        accepted.filter(|_| red.happened(LibraryEvent::Connected { socket }))
    });
    assert_eq!(accepted.addresses.source.ip(), link_local(router, "red", own));
    talk(red, blue, (socket, accepted.socket));
}

#[test]
fn connections_between_vrs_hit_over_the_channel_and_miss_over_the_cable() {
    let router = two_ways("six");
    let (mut red, mut blue) = (Program::attach(&router, "red"), Program::attach(&router, "blue"));
    let (red, blue) = (&mut red, &mut blue);
    let listener = blue.listen("[::]:7000", 8);
    until("the entry for the loopback", &mut [red], |programs| {
        let to: IpAddr = "2001:db8::2".parse().unwrap();
        programs[0].library.vrfib().entries().any(|(entry, _)| entry.to == to).then_some(())
    });
    let before = packets(&router);
    for (to, source) in [("2001:db8:a::1", "2001:db8:a::"), ("2001:db8::2", "2001:db8:a::")] {
        let (socket, accepted) = connect(red, (&mut *blue, listener), &format!("[{to}]:7000"), None);
        assert_eq!(red.library.addresses(socket).unwrap().source.ip().to_string(), source, "to {to}");
        talk(red, blue, (socket, accepted));
    }
    by_link_local(&router, red, (&mut *blue, listener), ("blue", "red"));
    assert_eq!(packets(&router), before, "all of that without a packet");

    let over_the_cable = connect(red, (&mut *blue, listener), "[2001:db8:b::2]:7000", None);
    talk(red, blue, over_the_cable);
    by_link_local(&router, red, (&mut *blue, listener), ("Port0/0/0", "Port0/0/1"));
    assert!(packets(&router) > before + 10);

    // Nobody listens: both ways say the same.
    for to in ["[2001:db8:a::1]:7001", "[2001:db8:b::2]:7001"] {
        let socket = red.open(to, None);
        let error = SocketError::ConnectionRefused;
        until("the refusal", &mut [red, blue], |programs| {
            programs[0].happened(LibraryEvent::ConnectFailed { socket, error }).then_some(())
        });
    }
}

fn bound(program: &mut Program, kind: SocketKind, address: &str) -> SocketId {
    let socket = program.library.create_socket(kind).unwrap();
    program.library.bind_datagram(&mut program.reactor, socket, address.parse().unwrap(), None).unwrap();
    until("the datagram socket", &mut [program], |programs| {
        programs[0].happened(LibraryEvent::Listening { listener: socket }).then_some(socket)
    })
}

/// What comes to a datagram socket of the second program next.
fn next(what: &str, red: &mut Program, blue: &mut Program, socket: SocketId) -> ProcessMessage {
    until(what, &mut [red, blue], |programs| {
        let [_, blue] = programs else { unreachable!("two programs") };
        blue.library.receive_from(&mut blue.reactor, socket).unwrap()
    })
}

#[test]
fn datagrams_and_hellos_arrive_alike_over_the_channel_and_over_the_cable() {
    let router = two_ways("hello");
    let (mut red, mut blue) = (Program::attach(&router, "red"), Program::attach(&router, "blue"));
    let (red, blue) = (&mut red, &mut blue);
    let ospf = SocketKind::Raw(IpProtocol::OSPF);
    let (client, server) = (bound(red, SocketKind::Datagram, "[::]:0"), bound(blue, SocketKind::Datagram, "[::]:5300"));
    let (from, to) = (bound(red, ospf, "[::]:0"), bound(blue, ospf, "[::]:0"));
    let group: IpAddr = "ff02::5".parse().unwrap();
    for interface in ["red", "Port0/0/1"] {
        blue.library.join(to, group, &interface.parse().unwrap()).unwrap();
    }
    until("the entry for the group", &mut [red, blue], |programs| {
        programs[0].library.vrfib().entries().any(|(entry, _)| entry.to == group).then_some(())
    });
    let before = packets(&router);
    let mut heard = Vec::new();
    for (own, far, address) in [("blue", "red", "2001:db8:a::1"), ("Port0/0/0", "Port0/0/1", "2001:db8:b::2")] {
        // Larger than the cable takes: there it goes in fragments.
        let destination = SocketAddr::new(address.parse().unwrap(), 5300);
        let question = ProcessMessage { ttl: 9, tos: 0x20, ..ProcessMessage::to(destination, vec![7; 4000]) };
        red.library.send_to(&mut red.reactor, client, question).unwrap();
        let message = next("the datagram", red, blue, server);
        assert_eq!((message.ttl, message.tos, message.payload.len()), (9, 0x20, 4000), "over {own}");
        assert_eq!(message.interface, Some(far.parse().unwrap()));
        let hello = ProcessMessage {
            interface: Some(own.parse().unwrap()),
            ..ProcessMessage::to(SocketAddr::new(group, 0), *b"hello")
        };
        red.library.send_to(&mut red.reactor, from, hello).unwrap();
        let message = next("the hello", red, blue, to);
        assert_eq!(message.addresses.source.ip(), link_local(&router, "red", own));
        assert_eq!((message.ttl, message.interface), (1, Some(far.parse().unwrap())));
        heard.push(packets(&router) - before);
    }
    assert_eq!(heard[0], 0, "over the channel without a packet");
    assert!(heard[1] >= 4, "over the cable in packets");
}

/// Red with a port on `veth0`, and blue behind it.
const HOST_OUTSIDE: &str = "
linecard 0/0
 port 0
  driver af-packet device veth0
 !
!
vr red
 assign port 0/0/0
!
vr blue
!
connect red blue
!
vr red
 interface blue
  ipv6 address 2001:db8:a::/127
 !
 interface Port0/0/0
  ipv4 address 10.1.0.1/24
  ipv6 address 2001:db8:1::1/64
  ipv6 address 2001:db8:1::66/64
 !
 router static
  address-family ipv6 unicast
   2001:db8::2/128 2001:db8:a::1
  !
 !
!
vr blue
 interface red
  ipv6 address 2001:db8:a::1/127
 !
 interface Loopback0
  ipv6 address 2001:db8::2/128
 !
 router static
  address-family ipv6 unicast
   ::/0 2001:db8:a::
  !
 !
!
";

const HOST: &str = "2001:db8:1::2";

/// The router, and outside a Linux host with [`HOST`] and the address 2001:db8:1::66 that red wants, too.
fn host_outside(name: &str) -> Lab {
    let lab = Lab::up_after(name, HOST_OUTSIDE, |outside| {
        outside.ip(&format!("-6 address add {HOST}/64 dev eth0 nodad"));
        outside.ip("-6 address add 2001:db8:1::66/64 dev eth0 nodad");
        outside.ip("-6 route add default via 2001:db8:1::1");
    });
    lab.router.wait_for_row("show fib", &[("vr", "red"), ("prefix", "2001:db8:1::/64"), ("action", "forward")]);
    lab
}

fn output(lab: &Lab, program: &str, arguments: &str) -> String {
    String::from_utf8(run(lab.outside.command(program).args(arguments.split(' '))).stdout).unwrap()
}

#[test]
fn a_linux_host_and_both_vrs_reach_each_other() {
    let test = "a_linux_host_and_both_vrs_reach_each_other";
    if !can_run(test, &["ping", "tracepath"]) {
        return;
    }
    let lab = host_outside("outside6");
    let router = &lab.router;
    for (to, hop_limit) in [("2001:db8:1::1", 64), ("2001:db8::2", 63)] {
        let ping = output(&lab, "ping", &format!("-6 -n -c 3 -i 0.05 -w 20 {to}"));
        assert_eq!(ping.matches(&format!("ttl={hop_limit} ")).count(), 3, "{ping}");
        // In fragments there and back. blue must first be told how large its packets may be.
        let ping = output(&lab, "ping", &format!("-6 -n -c 3 -i 0.05 -w 20 -s 4000 {to}"));
        assert_eq!(ping.matches("4008 bytes from").count(), 3, "{ping}");
    }
    let trace = output(&lab, "tracepath", "-6 -n 2001:db8::2");
    assert!(trace.contains("2001:db8:1::1 ") && trace.contains("2001:db8::2 ") && trace.contains("reached"), "{trace}");
    for vr in ["red", "blue"] {
        assert_eq!(router.sh(&format!("ping vr {vr} {HOST} count 1"))["received"], 1, "{vr}");
    }
    let hops = router.sh(&format!("traceroute vr blue {HOST}"))["hops"].clone();
    let from: Vec<_> = hops.as_array().unwrap().iter().map(|hop| hop["from"].as_str().unwrap().to_owned()).collect();
    assert_eq!(from, ["2001:db8:a::", HOST]);
    let neighbor = router.rows("show ipv6 neighbors", &[("vr", "red"), ("address", HOST)]);
    assert_eq!((neighbor.len(), neighbor[0]["interface"].as_str()), (1, Some("Port0/0/0")), "{neighbor:?}");
    assert_eq!(matching(&router.sh("show arp"), &[("address", HOST)]).len(), 0);
    let of_host = lab.outside.ip("-6 -o address show dev eth0 scope link");
    let of_host = of_host.split_whitespace().nth(3).unwrap().trim_end_matches("/64").to_owned();
    assert_eq!(router.sh(&format!("ping vr red {of_host} count 1 interface Port0/0/0"))["received"], 1);

    // Nobody has this address: after three solicitations red says so.
    let unanswered = router.try_sh("ping vr blue 2001:db8:1::77 count 3");
    assert!(String::from_utf8_lossy(&unanswered.stdout).contains("unreachable"), "{unanswered:?}");
    let lost = router.wait_for_row("show stack drops", &[("vr", "red"), ("reason", "unresolved")]);
    assert!(lost["packets"].as_u64() >= Some(1), "{lost}");
    // The host had this one first: red does not use it, and the log says why.
    let port = router.rows("show interfaces", &[("vr", "red"), ("interface", "Port0/0/0")]).remove(0);
    assert!(!port["addresses"].to_string().contains("2001:db8:1::66"), "{port}");
    assert!(router.log().contains("2001:db8:1::66 is not used: another station"), "{}", router.log());
}

#[test]
fn tcp_and_udp_pass_between_a_linux_host_and_both_vrs() {
    if !can_run("tcp_and_udp_pass_between_a_linux_host_and_both_vrs", &["ping"]) {
        return;
    }
    let lab = host_outside("tcp6");
    let megabyte: Vec<u8> = (0..1_000_000_u32).map(|byte| (byte * 7) as u8).collect();
    let mut programs: BTreeMap<&str, Program> =
        ["red", "blue"].into_iter().map(|vr| (vr, Program::attach(&lab.router, vr))).collect();
    for (vr, own) in [("red", "2001:db8:1::1"), ("blue", "2001:db8::2")] {
        let program = programs.get_mut(vr).unwrap();
        // The host connects, and gets back what it sends.
        let listener = program.listen("[::]:7000", 8);
        let sent = megabyte.clone();
        let host = std::thread::scope(|scope| {
            let outside = &lab.outside;
            let host = scope.spawn(move || {
                outside.within(|| {
                    let mut stream = TcpStream::connect((own, 7000)).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                    let mut writer = stream.try_clone().unwrap();
                    std::thread::scope(|scope| {
                        scope.spawn(|| writer.write_all(&sent).unwrap());
                        let mut back = vec![0; sent.len()];
                        stream.read_exact(&mut back).unwrap();
                        back == sent
                    })
                })
            });
            echo(program, listener, megabyte.len());
            host.join().unwrap()
        });
        assert!(host, "what came back to the host from {vr} is what it sent");

        // The VR connects, and gets a greeting.
        let server = lab.outside.within(|| TcpListener::bind((HOST, 0)).unwrap());
        let port = server.local_addr().unwrap().port();
        let socket = program.open(&format!("[{HOST}]:{port}"), None);
        let (mut accepted, _) = std::thread::scope(|scope| {
            let accepting = scope.spawn(|| server.accept().unwrap());
            until("the connection outside", &mut [&mut *program], |programs| {
                programs[0].happened(LibraryEvent::Connected { socket }).then_some(())
            });
            accepting.join().unwrap()
        });
        assert_eq!(accepted.peer_addr().unwrap().ip(), source(vr));
        accepted.write_all(b"welcome").unwrap();
        until("the greeting", &mut [&mut *program], |programs| {
            (programs[0].read(socket).0 == b"welcome").then_some(())
        });

        // Datagrams, each way one, larger than the wire takes.
        let outside = lab.outside.within(|| UdpSocket::bind((HOST, 0)).unwrap());
        outside.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let udp = bound(program, SocketKind::Datagram, "[::]:5300");
        outside.send_to(&[9; 3000], (own, 5300)).unwrap();
        let message = until("the datagram from outside", &mut [&mut *program], |programs| {
            let program = &mut programs[0];
            program.library.receive_from(&mut program.reactor, udp).unwrap()
        });
        assert_eq!((message.addresses.source, message.payload.len()), (outside.local_addr().unwrap(), 3000));
        let mut buffer = [0; 4096];
        // blue learns on the way how large its packets may be, and the first one is lost for that.
        let heard = std::thread::scope(|scope| {
            let hearing = scope.spawn(|| outside.recv_from(&mut buffer).unwrap());
            until("the answer outside", &mut [&mut *program], |programs| {
                let program = &mut programs[0];
                program.library.send_to(&mut program.reactor, udp, message.answer(vec![5; 3000])).unwrap();
                hearing.is_finished().then_some(())
            });
            hearing.join().unwrap()
        });
        assert_eq!(heard, (3000, SocketAddr::new(own.parse().unwrap(), 5300)), "{vr}");
    }
}

/// The address that a VR speaks to the host with, if nobody chose one: that of the interface which its route leads over.
fn source(vr: &str) -> IpAddr {
    if vr == "red" { "2001:db8:1::1" } else { "2001:db8:a::1" }.parse().unwrap()
}

/// Sends so many bytes back.
fn echo(program: &mut Program, listener: SocketId, bytes: usize) {
    let accepted = until("the connection from outside", &mut [&mut *program], |programs| {
        let program = &mut programs[0];
        program.library.accept(&mut program.reactor, listener).unwrap()
    });
    let (mut waiting, mut echoed) = (Vec::new(), 0);
    until("all bytes from outside", &mut [program], |programs| {
        let (arrived, end) = programs[0].read(accepted.socket);
        assert!(matches!(end, Ok(Received::NothingYet | Received::EndOfFile)), "{end:?}");
        waiting.extend(arrived);
        let sent = programs[0].library.send(accepted.socket, &waiting).unwrap();
        waiting.drain(..sent);
        echoed += sent;
        (echoed == bytes).then_some(())
    });
}
