//! Opening: RFC 9293 section 3.5, RFC 5961, SYN retransmission.

use std::time::Duration;

use super::script::{plain, run};
use crate::transport::tcp::{Config, reset_for};
use crate::wire::tcp::{SeqNumber, TcpFlags, TcpRepr, TcpSegment};

#[test]
fn rfc9293_figure_6_an_open_of_ours() {
    run(
        plain(),
        "0   connect
         0   > S 0 win 10000 mss 1460
         10  < S. 0 ack 1 win 3000 mss 1400
         10  > . 1 ack 1 win 10000
         10  state ESTABLISHED
         10  event Connected
         10  event none",
    );
}

#[test]
fn rfc9293_figure_6_an_open_of_the_peer() {
    run(
        plain(),
        "0   listen
         0   < S 0 win 3000 mss 1400
         0   > S. 0 ack 1 win 10000 mss 1460
         0   state SYN-RECEIVED
         10  < . 1 ack 1 win 3000
         10  state ESTABLISHED
         10  event Connected",
    );
}

#[test]
fn rfc9293_figure_7_both_open_at_once() {
    run(
        plain(),
        "0   connect
         0   > S 0
         5   < S 0 mss 1460
         5   > S. 0 ack 1 mss 1460
         5   state SYN-RECEIVED
         10  < S. 0 ack 1 mss 1460
         10  > . 1 ack 1
         10  state ESTABLISHED
         10  event Connected
         10  write 3
         10  > P. 1..4 ack 1",
    );
}

#[test]
fn a_lost_syn_is_sent_again_and_again_with_back_off_then_the_open_times_out() {
    run(
        Config { connect_timeout: Duration::from_secs(20), ..plain() },
        "0      connect
         0      > S 0
         1000   > S 0
         3000   > S 0
         7000   > S 0
         15000  > S 0
         20000  state CLOSED
         20000  event Failed(TimedOut)
         99999  silence",
    );
}

#[test]
fn rfc6298_section_5_7_after_a_lost_syn_the_first_timeout_is_three_seconds() {
    run(
        plain(),
        "0     connect
         0     > S 0
         1000  > S 0
         1010  < S. 0 ack 1 mss 1460
         1010  > . 1 ack 1
         1010  write 3
         1010  > P. 1..4 ack 1
         4010  > . 1..4 ack 1",
    );
}

#[test]
fn a_repeated_syn_is_answered_by_the_syn_ack_again() {
    run(
        plain(),
        "0     listen
         0     < S 0 mss 1460
         0     > S. 0 ack 1
         300   < S 0 mss 1460
         300   dropped OutsideWindow
         300   > S. 0 ack 1
         1300  > S. 0 ack 1
         1310  < . 1 ack 1
         1310  state ESTABLISHED",
    );
}

#[test]
fn a_repeated_syn_ack_is_acknowledged_again() {
    run(
        plain(),
        "0     connect
         0     > S 0
         10    < S. 0 ack 1 mss 1460
         10    > . 1 ack 1
         1010  < S. 0 ack 1 mss 1460
         1010  dropped OutsideWindow
         1010  > . 1 ack 1",
    );
}

#[test]
fn a_refused_open_says_so_and_a_stale_reset_does_not_refuse() {
    run(
        plain(),
        "0   connect
         0   > S 0
         5   < R. 0 ack 77
         5   dropped BadAcknowledgment
         6   < R 0
         6   dropped NoAcknowledgment
         10  < R. 0 ack 1
         10  state CLOSED
         10  event Failed(Refused)",
    );
}

#[test]
fn rfc9293_figure_8_an_old_acknowledgment_in_syn_sent_is_reset() {
    run(
        plain(),
        "0     connect
         0     > S 0
         5     < . 300 ack 100
         5     > R 100
         5     dropped BadAcknowledgment
         5     state SYN-SENT
         1000  > S 0",
    );
}

#[test]
fn a_wrong_acknowledgment_in_syn_received_is_reset() {
    run(
        plain(),
        "0   listen
         0   < S 0 mss 1460
         0   > S. 0 ack 1
         5   < . 1 ack 100
         5   > R 100
         5   state SYN-RECEIVED
         9   < R 1
         9   event Failed(Reset)",
    );
}

#[test]
fn icmp_errors_end_an_open_but_not_a_connection() {
    run(
        plain(),
        "0   connect
         0   > S 0
         5   unreachable host seq 3
         5   state SYN-SENT
         5   unreachable host seq 0
         5   event Failed(Unreachable(Host))",
    );
    run(
        plain(),
        "0   connect
         0   > S 0
         5   < S. 0 ack 1 mss 1460
         5   > . 1 ack 1
         5   write 3
         5   > P. 1..4 ack 1
         6   unreachable port seq 1
         6   state ESTABLISHED",
    );
}

#[test]
fn rfc5961_a_syn_or_a_reset_that_does_not_fit_exactly_is_challenged() {
    run(
        plain(),
        "0   connect
         0   > S 0
         5   < S. 0 ack 1 mss 1460
         5   > . 1 ack 1
         6   < S 500
         6   dropped Challenged
         6   > . 1 ack 1
         7   < R 500
         7   dropped Challenged
         7   > . 1 ack 1
         8   < R 20000
         8   dropped OutsideWindow
         8   state ESTABLISHED
         9   event Connected
         9   < R 1
         9   state CLOSED
         9   event Failed(Reset)",
    );
}

#[test]
fn rfc5961_section_7_challenges_are_ten_a_second() {
    let opened = "0 connect
        0 > S 0
        5 < S. 0 ack 1 mss 1460
        5 > . 1 ack 1\n";
    let answered = "6 < R 500\n 6 > . 1 ack 1\n".repeat(10);
    let silent = "7 < R 500\n".repeat(20);
    run(plain(), &format!("{opened}{answered}{silent} 2000 < R 500\n 2000 > . 1 ack 1"));
}

#[test]
fn without_an_mss_option_segments_are_536_bytes() {
    run(
        plain(),
        "0   connect
         0   > S 0
         5   < S. 0 ack 1
         5   > . 1 ack 1
         5   write 600
         5   > . 1..537 ack 1
         5   > P. 537..601 ack 1",
    );
}

#[test]
fn window_scale_is_used_only_if_both_offer_it() {
    let config = Config { window_scaling: true, receive_bytes: 256 * 1024, ..plain() };
    run(
        config,
        "0   connect
         0   > S 0 win 65535 ws 3
         5   < S. 0 ack 1 win 100 mss 1000 ws 4
         5   > . 1 ack 1 win 32768
         6   < . 1 ack 1 win 100
         6   write 3000
         6   > . 1..1001 ack 1
         # 600 more bytes would fit: silly.
         6   silence",
    );
    run(
        config,
        "0   connect
         0   > S 0 win 65535 ws 3
         5   < S. 0 ack 1 win 100 mss 1000
         5   > . 1 ack 1 win 65535",
    );
}

#[test]
fn rfc9293_section_3_10_7_1_a_segment_to_nobody_is_reset_and_a_reset_is_not_answered() {
    let segment = |flags, payload| TcpSegment {
        repr: TcpRepr {
            source_port: 1,
            destination_port: 2,
            sequence: SeqNumber(100),
            acknowledgment: SeqNumber(7),
            flags,
            ..TcpRepr::default()
        },
        payload,
    };
    let answer = reset_for(&segment(TcpFlags::SYN, b"abc")).unwrap();
    assert_eq!((answer.source_port, answer.destination_port), (2, 1));
    assert_eq!((answer.sequence, answer.acknowledgment), (SeqNumber(0), SeqNumber(104)));
    assert_eq!(answer.flags, TcpFlags::RST | TcpFlags::ACK);
    let answer = reset_for(&segment(TcpFlags::ACK, b"")).unwrap();
    assert_eq!((answer.sequence, answer.flags), (SeqNumber(7), TcpFlags::RST));
    assert_eq!(reset_for(&segment(TcpFlags::RST | TcpFlags::ACK, b"")), None);
}
