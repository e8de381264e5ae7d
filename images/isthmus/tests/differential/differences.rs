//! Differences from the kernel that are meant, each with its reason. One that no longer shows is a failure too.

use crate::column::Kind;

/// A difference that is meant.
#[derive(Debug)]
pub struct Listed {
    /// In which case.
    pub case: &'static str,
    /// In which columns.
    pub columns: &'static [Kind],
    /// What the kernel's transcript says.
    pub judge: &'static str,
    /// What ours says instead.
    pub found: &'static str,
    /// Why that is better here.
    pub reason: &'static str,
}

impl Listed {
    /// Whether it is this one.
    pub fn is(&self, case: &str, column: Kind, judge: &str, found: &str) -> bool {
        self.case == case && self.columns.contains(&column) && self.judge == judge && self.found == found
    }
}

/// All of them.
pub const LISTED: &[Listed] = &[
    Listed {
        case: "a_broadcast_is_refused",
        columns: OURS,
        judge: "red: socket 1 send \"to everybody\" to 255.255.255.255:5300: ENETUNREACH",
        found: "red: socket 1 send \"to everybody\" to 255.255.255.255:5300: EACCES",
        reason: "no socket may send broadcasts; the kernel says so only where a route leads there",
    },
    Listed {
        case: "a_broadcast_is_refused",
        columns: OURS,
        judge: "red: socket 1 send \"to the subnet\" to 10.0.0.255:5300: EACCES",
        found: "red: socket 1 send \"to the subnet\" to 10.0.0.255:5300: ok",
        reason: ASYNCHRONOUS,
    },
    Listed {
        case: "a_broadcast_is_refused",
        columns: OURS,
        judge: "red: socket 1 error after a while: none",
        found: "red: socket 1 error after a while: EACCES",
        reason: ASYNCHRONOUS,
    },
    Listed {
        case: "a_listener_is_shut_down",
        columns: LIBRARY,
        judge: "blue: socket 1 shutdown Both: ok",
        found: "blue: socket 1 shutdown Both: ENOTCONN",
        reason: "a listener is closed; POSIX has ENOTCONN for what is not connected, the kernel ends the listening",
    },
    Listed {
        case: "a_datagram_to_an_own_address_comes_back",
        columns: OURS,
        judge: "red: socket 1 receive: \"to myself\" from 10.0.0.1:4000 to 10.0.0.1, TTL 64, TOS 0x00, by the link",
        found: "red: socket 1 receive: \"to myself\" from 10.0.0.1:4000 to 10.0.0.1, TTL 64, TOS 0x00, by another way",
        reason: TO_ITSELF,
    },
    Listed {
        case: "a_listener_on_the_link_and_a_neighbor_that_asks_for_the_links_address",
        columns: OURS,
        judge: "blue2: socket 1 connected: ok",
        found: "blue2: socket 1 connected: ECONNREFUSED",
        reason: TO_ITSELF,
    },
    Listed {
        case: "a_connection_on_the_link_reaches_no_listener_of_its_own_router",
        columns: OURS,
        judge: "red: socket 3 connected by now: EINPROGRESS",
        found: "red: socket 3 connected by now: ENETUNREACH",
        reason: "no own address is reached over a link, which is said at once; the kernel asks the link for it, in vain",
    },
    Listed {
        case: "ospfv3_hellos_reach_all_that_joined",
        columns: OURS,
        judge: "blue: socket 1 receive by now: \"hello?\" from [red%link]:0 to ff02::5, TTL 1, TOS 0xc0, by the link",
        found: "blue: socket 1 receive by now: EAGAIN",
        reason: "a raw socket hears the groups that it has joined; the kernel gives one of IPv6 that is bound to no \
                 address those of others too, whatever IPV6_MULTICAST_ALL says",
    },
    Listed {
        case: "a_small_receive_buffer_stops_the_sender_sooner",
        columns: CHANNELS,
        judge: "red: was stopped much sooner",
        found: "red: was stopped no sooner",
        reason: "between VRs there is one buffer, not one at each end; it begins small and grows with use, as far as both \
                 ends let it",
    },
    Listed {
        case: "the_peer_of_who_was_timed_out_learns_it_when_it_sends",
        columns: CHANNELS,
        judge: "blue: socket 2 send \"anybody there?\": 14",
        found: "blue: socket 2 send \"anybody there?\": ECONNRESET",
        reason: IS_TOLD,
    },
    Listed {
        case: "the_peer_of_who_was_timed_out_learns_it_when_it_sends",
        columns: CHANNELS,
        judge: "blue: socket 2 poll until HungUp: IN|OUT|RDHUP|HUP|ERR",
        found: "blue: socket 2 poll until HungUp: IN|OUT|RDHUP|HUP",
        reason: IS_TOLD,
    },
    Listed {
        case: "the_peer_of_who_was_timed_out_learns_it_when_it_sends",
        columns: CHANNELS,
        judge: "blue: socket 2 receive at most 100: ECONNRESET",
        found: "blue: socket 2 receive at most 100: \"in vain\"",
        reason: IS_TOLD,
    },
    Listed {
        case: "a_reset_behind_a_cut_is_told_to_who_sends_afterwards",
        columns: CHANNELS,
        judge: "blue: socket 2 send \"anybody there?\": 14",
        found: "blue: socket 2 send \"anybody there?\": ECONNRESET",
        reason: IS_TOLD,
    },
    Listed {
        case: "a_reset_behind_a_cut_is_told_to_who_sends_afterwards",
        columns: CHANNELS,
        judge: "blue: socket 2 poll until HungUp: IN|OUT|RDHUP|HUP|ERR",
        found: "blue: socket 2 poll until HungUp: IN|OUT|RDHUP|HUP",
        reason: IS_TOLD,
    },
    Listed {
        case: "a_reset_behind_a_cut_is_told_to_who_sends_afterwards",
        columns: CHANNELS,
        judge: "blue: socket 2 receive at most 100: ECONNRESET",
        found: "blue: socket 2 receive at most 100: end of file",
        reason: IS_TOLD,
    },
    Listed {
        case: "a_connect_over_a_cut_link_is_not_heard",
        columns: CHANNELS,
        judge: "red: socket 1 connected by now: EINPROGRESS",
        found: "red: socket 1 connected by now: ENETUNREACH",
        reason: BOTH_DOWN,
    },
    Listed {
        case: "a_connect_over_a_cut_link_is_timed_out",
        columns: CHANNELS,
        judge: "red: socket 1 connected: ETIMEDOUT",
        found: "red: socket 1 connected: ENETUNREACH",
        reason: BOTH_DOWN,
    },
    Listed {
        case: "datagrams_over_a_cut_link_are_lost",
        columns: CHANNELS,
        judge: "red: socket 1 error after a while: none",
        found: "red: socket 1 error after a while: ENETUNREACH",
        reason: BOTH_DOWN,
    },
    Listed {
        case: "datagrams_over_a_cut_link_are_lost",
        columns: OURS,
        judge: "blue: socket 1 send \"no way\" to 10.0.0.1:4000: ENETUNREACH",
        found: "blue: socket 1 send \"no way\" to 10.0.0.1:4000: ok",
        reason: ASYNCHRONOUS,
    },
    Listed {
        case: "datagrams_over_a_cut_link_are_lost",
        columns: OURS,
        judge: "blue: socket 1 error after a while: none",
        found: "blue: socket 1 error after a while: ENETUNREACH",
        reason: ASYNCHRONOUS,
    },
    Listed {
        case: "a_datagram_socket_with_a_peer_outlasts_a_cut",
        columns: CHANNELS,
        judge: "red: socket 1 error after a while: none",
        found: "red: socket 1 error after a while: ENETUNREACH",
        reason: BOTH_DOWN,
    },
    Listed {
        case: "a_datagram_socket_with_a_peer_outlasts_a_cut",
        columns: OURS,
        judge: "blue: socket 1 send \"no way\" to its peer: ENETUNREACH",
        found: "blue: socket 1 send \"no way\" to its peer: ok",
        reason: ASYNCHRONOUS,
    },
    Listed {
        case: "a_datagram_socket_with_a_peer_outlasts_a_cut",
        columns: OURS,
        judge: "blue: socket 1 error after a while: none",
        found: "blue: socket 1 error after a while: ENETUNREACH",
        reason: ASYNCHRONOUS,
    },
    Listed {
        case: "a_connection_bound_to_a_link_that_does_not_lead_there",
        columns: OURS,
        judge: "red: socket 1 connected by now: ok",
        found: "red: socket 1 connected by now: ENETUNREACH",
        reason: NO_WAY,
    },
    Listed {
        case: "a_connection_bound_to_a_link_that_does_not_lead_there",
        columns: OURS,
        judge: "red: socket 2 connected by now: ok",
        found: "red: socket 2 connected by now: ENETUNREACH",
        reason: NO_WAY,
    },
    Listed {
        case: "a_connection_bound_to_a_link_that_does_not_lead_there",
        columns: OURS,
        judge: "red: socket 3 connected by now: ok",
        found: "red: socket 3 connected by now: ENETUNREACH",
        reason: NO_WAY,
    },
    Listed {
        case: "each_link_has_a_listener_of_its_own",
        columns: OURS,
        judge: "blue: listen on 0.0.0.0:7000, bound to the other link: socket 3",
        found: "blue: listen on 0.0.0.0:7000, bound to the other link: EADDRINUSE",
        reason: "of TCP, one listener has a port on an address, whatever the interface: nobody needed it. UDP ports are apart",
    },
    Listed {
        case: "a_datagram_by_a_link_that_does_not_lead_there",
        columns: OURS,
        judge: "blue: socket 1 receive by now: \"the wrong one\" from 10.0.1.1:4000 to 10.0.0.2, TTL 64, TOS 0x00, by the other link",
        found: "blue: socket 1 receive by now: EAGAIN",
        reason: NO_WAY,
    },
    Listed {
        case: "a_datagram_by_a_link_that_does_not_lead_there",
        columns: OURS,
        judge: "red: socket 1 error after a while: none",
        found: "red: socket 1 error after a while: ENETUNREACH",
        reason: NO_WAY,
    },
    Listed {
        case: "a_datagram_of_a_socket_on_a_link_that_does_not_lead_there",
        columns: OURS,
        judge: "blue: socket 1 receive by now: \"the wrong one\" from 10.0.1.1:4000 to 10.0.0.2, TTL 64, TOS 0x00, by the other link",
        found: "blue: socket 1 receive by now: EAGAIN",
        reason: NO_WAY,
    },
    Listed {
        case: "a_datagram_of_a_socket_on_a_link_that_does_not_lead_there",
        columns: OURS,
        judge: "red: socket 1 error after a while: none",
        found: "red: socket 1 error after a while: ENETUNREACH",
        reason: NO_WAY,
    },
    Listed {
        case: "a_socket_on_a_link_is_asked_to_send_to_groups_by_the_other",
        columns: OURS,
        judge: "red: UDP socket on 0.0.0.0:4000, bound to the link, groups by the other link: EINVAL",
        found: "red: UDP socket on 0.0.0.0:4000, bound to the link, groups by the other link: socket 1",
        reason: "a socket that is bound to a link sends to groups there, whatever else it is told; the kernel refuses to be told",
    },
    Listed {
        case: "an_ipv6_group_is_joined_on_each_link_by_another_socket",
        columns: OURS,
        judge: "blue: socket 1 receive by now: \"by the other link\" from [red%other]:4000 to ff02::5, TTL 1, TOS 0x00, by the other link",
        found: "blue: socket 1 receive by now: EAGAIN",
        reason: "a group is joined on an interface; the kernel asks of IPv6 sockets which group they joined, and not where",
    },
    Listed {
        case: "a_close_that_lingers_waits_until_a_cut_link_is_mended",
        columns: LIBRARY,
        judge: "red: socket 1 close: waits",
        found: "red: socket 1 close: does not wait",
        reason: NEVER_WAITS,
    },
    Listed {
        case: "a_close_that_lingers_waits_for_its_time_and_no_longer",
        columns: LIBRARY,
        judge: "red: socket 1 close: waits",
        found: "red: socket 1 close: does not wait",
        reason: NEVER_WAITS,
    },
    Listed {
        case: "a_close_that_lingers_waits_for_a_peer_that_does_not_read",
        columns: &[Kind::Stack],
        judge: "red: socket 1 close: waits",
        found: "red: socket 1 close: does not wait",
        reason: NEVER_WAITS,
    },
    Listed {
        case: "a_close_that_lingers_waits_for_a_peer_that_does_not_read",
        columns: CHANNELS,
        judge: "red: socket 1 close: waits",
        found: "red: socket 1 close: does not wait",
        reason: "what lies in the channel is as good as taken: nothing of this end is needed to deliver it",
    },
    Listed {
        case: "a_connect_to_a_neighbor_that_is_not_there",
        columns: CHANNELS,
        judge: "red: socket 1 connected: EHOSTUNREACH",
        found: "red: socket 1 connected: ETIMEDOUT",
        reason: "between two VRs nobody is asked for an address: who is not there is silent",
    },
    Listed {
        case: "a_datagram_to_a_neighbor_that_is_not_there_is_told_to_a_socket_with_a_peer",
        columns: OURS,
        judge: "red: socket 1 error: none",
        found: "red: socket 1 error: EHOSTUNREACH",
        reason: "a socket with a peer is told that its host is unreachable (RFC 1122 section 4.1.3.3); on Linux only with IP_RECVERR",
    },
    Listed {
        case: "a_datagram_to_an_address_without_a_route",
        columns: OURS,
        judge: "red: socket 1 send \"which way?\" to 203.0.113.9:5300: ENETUNREACH",
        found: "red: socket 1 send \"which way?\" to 203.0.113.9:5300: ok",
        reason: ASYNCHRONOUS,
    },
    Listed {
        case: "a_datagram_to_an_address_without_a_route",
        columns: OURS,
        judge: "red: socket 1 error after a while: none",
        found: "red: socket 1 error after a while: ENETUNREACH",
        reason: ASYNCHRONOUS,
    },
    Listed {
        case: "an_ipv6_datagram_to_an_address_without_a_route",
        columns: OURS,
        judge: "red: socket 1 send \"which way?\" to [2001:db8:9::9]:5300: ENETUNREACH",
        found: "red: socket 1 send \"which way?\" to [2001:db8:9::9]:5300: ok",
        reason: ASYNCHRONOUS,
    },
    Listed {
        case: "an_ipv6_datagram_to_an_address_without_a_route",
        columns: OURS,
        judge: "red: socket 1 error after a while: none",
        found: "red: socket 1 error after a while: ENETUNREACH",
        reason: ASYNCHRONOUS,
    },
    Listed {
        case: "own_messages_to_a_group_come_back",
        columns: LIBRARY,
        judge: "red: socket 1 receive by now: \"hello\" from 10.0.0.1:0 to 224.0.0.5, TTL 1, TOS 0x00, by the link",
        found: "red: socket 1 receive by now: EAGAIN",
        reason: NO_ECHO,
    },
    Listed {
        case: "own_ipv6_messages_to_a_group_come_back",
        columns: LIBRARY,
        judge: "red: socket 1 receive by now: \"hello\" from [red%link]:1985 to ff02::5, TTL 1, TOS 0x00, by the link",
        found: "red: socket 1 receive by now: EAGAIN",
        reason: NO_ECHO,
    },
    Listed {
        case: "a_group_that_another_process_has_joined",
        columns: OURS,
        judge: "blue: socket 2 receive by now: \"to all routers\" from 10.0.0.1:4000 to 224.0.0.2, TTL 1, TOS 0x00, by the link",
        found: "blue: socket 2 receive by now: EAGAIN",
        reason: OWN_GROUPS,
    },
    Listed {
        case: "a_raw_socket_and_a_group_that_another_process_has_joined",
        columns: OURS,
        judge: "blue: socket 2 receive by now: \"hello\" from 10.0.0.1:0 to 224.0.0.5, TTL 1, TOS 0x00, by the link",
        found: "blue: socket 2 receive by now: EAGAIN",
        reason: OWN_GROUPS,
    },
    Listed {
        case: "a_listener_of_ipv6_takes_ipv4",
        columns: LIBRARY,
        judge: "red: socket 1 connected: ok",
        found: "red: socket 1 connected: ECONNREFUSED",
        reason: ONE_FAMILY,
    },
    Listed {
        case: "a_udp_socket_of_ipv6_hears_ipv4",
        columns: LIBRARY,
        judge: "blue: socket 1 receive by now: \"hello\" from [::ffff:10.0.0.1]:4000 to ::ffff:10.0.0.2, TTL 0, TOS 0x00, by the link",
        found: "blue: socket 1 receive by now: EAGAIN",
        reason: ONE_FAMILY,
    },
    Listed {
        case: "a_udp_socket_of_ipv6_hears_ipv4",
        columns: LIBRARY,
        judge: "red: socket 1 error after a while: none",
        found: "red: socket 1 error after a while: ECONNREFUSED",
        reason: ONE_FAMILY,
    },
    Listed {
        case: "a_port_without_reuse_is_not_listened_on_again_while_its_connections_stand",
        columns: OURS,
        judge: "blue: listen on 0.0.0.0:7077, without SO_REUSEADDR: EADDRINUSE",
        found: "blue: listen on 0.0.0.0:7077, without SO_REUSEADDR: socket 3",
        reason: "nobody is kept from starting a server again: it is as if each listener had SO_REUSEADDR",
    },
    Listed {
        case: "a_backlog_of_two_lets_so_many_wait",
        columns: CHANNELS,
        judge: "red: socket 3 connected by now: ok",
        found: "red: socket 3 connected by now: EINPROGRESS",
        reason: "a backlog of N lets N wait; on Linux N + 1",
    },
    Listed {
        case: "a_backlog_of_two_lets_so_many_wait",
        columns: &[Kind::Stack, Kind::LibcStack],
        judge: "red: socket 4 connected by now: EINPROGRESS",
        found: "red: socket 4 connected by now: ok",
        reason: "through the stack N wait for the process and N in the socket server, which has a backlog of its own",
    },
];

/// Where the program calls the socket library.
const LIBRARY: &[Kind] = &[Kind::Channel, Kind::Stack];

/// Whichever way our sockets are called and go.
const OURS: &[Kind] = &[Kind::Channel, Kind::Stack, Kind::LibcChannel, Kind::LibcStack];

/// Over the channel, whichever way our sockets are called.
const CHANNELS: &[Kind] = &[Kind::Channel, Kind::LibcChannel];

const BOTH_DOWN: &str = "an inter-VR interface is down as soon as either end is shut, so that nothing is routed over it; over \
                         a wire, and a switch, nobody tells the other end";

const IS_TOLD: &str = "over a channel the word of an end is not lost: the peer has it once the link is mended; over a wire it \
                       learns of it when it sends";

const TO_ITSELF: &str =
    "what a VR sends to itself came in by no interface; the kernel names the one that has the address";

const ASYNCHRONOUS: &str = "a send asks nobody: what the stack cannot send, the socket's next call says";

const NO_WAY: &str = "over a link goes what a route over it leads to; the kernel takes whoever no route leads to over the link for \
                      a neighbor there, and Linux answers for all its addresses on all its links";

const NEVER_WAITS: &str =
    "no call of the library waits; a close of its blocking types does (`sockets::blocking`), and close(2)";

const NO_ECHO: &str = "IP_MULTICAST_LOOP is off unless set: what every routing protocol asks for first";

const OWN_GROUPS: &str = "a socket hears the groups that it has joined; on Linux that takes IP_MULTICAST_ALL off";

const ONE_FAMILY: &str = "a socket is of one family, as with IPV6_V6ONLY; programs that call libc have both";
