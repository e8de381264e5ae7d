//! Flow control: RFC 9293 section 3.8.6, delayed acknowledgments, Nagle, keepalive, path MTU.

use std::time::Duration;

use super::close::opened;
use super::script::{plain, run};
use crate::transport::tcp::{Config, KeepAlive};

#[test]
fn acknowledgments_wait_forty_milliseconds_or_for_a_second_full_segment() {
    run(
        plain(),
        &opened(
            "10   < P. 1..101 ack 1
             50   > . 1 ack 101
             100  < . 101..1101 ack 1
             101  < . 1101..2101 ack 1
             101  > . 1 ack 2101
             110  < . 2101..3101 ack 1
             # An answer carries it along.
             120  write 1
             120  > P. 1..2 ack 3101",
        ),
    );
}

#[test]
fn a_closed_window_is_probed_with_back_off_and_an_update_opens_it() {
    run(
        plain(),
        &opened(
            "10    < . 1 ack 1 win 0
             10    write 50
             210   > . 0 ack 1
             220   < . 1 ack 1 win 0
             610   > . 0 ack 1
             620   < . 1 ack 1 win 0
             1410  > . 0 ack 1
             1420  < . 1 ack 1 win 0
             3010  > . 0 ack 1
             3020  < . 1 ack 1 win 0
             4000  < . 1 ack 1 win 5000
             4000  > P. 1..51 ack 1",
        ),
    );
}

#[test]
fn a_closed_window_that_nobody_answers_for_ends_the_connection() {
    run(
        Config { user_timeout: Some(Duration::from_secs(5)), ..plain() },
        &opened(
            "10    < . 1 ack 1 win 0
             10    write 50
             210   > . 0 ack 1
             610   > . 0 ack 1
             1410  > . 0 ack 1
             3010  > . 0 ack 1
             5010  event Failed(TimedOut)",
        ),
    );
}

#[test]
fn a_closed_window_ends_the_connection_of_who_set_a_user_timeout_however_often_the_peer_answers() {
    run(
        Config { user_timeout: Some(Duration::from_secs(1)), ..plain() },
        &opened(
            "10    < . 1 ack 1 win 0
             10    write 50
             210   > . 0 ack 1
             220   < . 1 ack 1 win 0
             610   > . 0 ack 1
             # It opens in time, and closes again: the time begins anew.
             700   < . 1 ack 1 win 50
             700   > P. 1..51 ack 1
             710   < . 1 ack 51 win 0
             710   write 50
             910   > . 50 ack 1
             920   < . 1 ack 51 win 0
             1310  > . 50 ack 1
             1320  < . 1 ack 51 win 0
             1710  event Failed(TimedOut)",
        ),
    );
}

#[test]
fn a_small_opening_is_not_filled_with_a_silly_segment_until_the_persist_timer_says_so() {
    run(
        plain(),
        &opened(
            "10    write 5000
             10    > . 1..1001 ack 1
             10    > . 1001..2001 ack 1
             10    > . 2001..3001 ack 1
             10    > . 3001..4001 ack 1
             10    > P. 4001..5001 ack 1
             20    < . 1 ack 5001 win 10
             20    write 5000
             220   > . 5001..5011 ack 1
             230   < . 1 ack 5011 win 10000
             230   > . 5011..6011 ack 1
             230   > . 6011..7011 ack 1
             230   > . 7011..8011 ack 1
             230   > . 8011..9011 ack 1
             230   > P. 9011..10001 ack 1",
        ),
    );
}

#[test]
fn our_window_closes_as_the_sink_fills_and_reading_opens_it_by_worthwhile_steps() {
    run(
        Config { receive_bytes: 3000, ..plain() },
        &opened(
            "10   < . 1..1001 ack 1
             10   < . 1001..2001 ack 1
             10   > . 1 ack 2001 win 1000
             20   < . 2001..3001 ack 1
             60   > . 1 ack 3001 win 0
             # A probe is answered.
             70   < . 3000 ack 1
             70   > . 1 ack 3001 win 0
             # So is a byte beyond the window, which is not taken.
             71   < . 3001..3002 ack 1
             71   > . 1 ack 3001 win 0
             71   delivered 3000
             80   read 100
             90   read 1400
             90   > . 1 ack 3001 win 1500",
        ),
    );
}

#[test]
fn rfc9293_section_3_7_4_nagle_holds_a_small_segment_back() {
    let script = |second| {
        opened(&format!(
            "10   write 5
             10   > P. 1..6 ack 1
             20   write 5
             {second}"
        ))
    };
    run(plain(), &script("20 > P. 6..11 ack 1"));
    run(
        Config { nodelay: false, ..plain() },
        &script("30 < . 1 ack 6\n 30 > P. 6..11 ack 1\n 30 write 3\n 30 close\n 30 > FP. 11..14 ack 1"),
    );
}

#[test]
fn a_super_segment_is_cut_into_segments_of_the_mss() {
    run(
        Config { gso_bytes: Some(60_000), ..plain() },
        &opened(
            "10   write 9500
             10   > P. 1..9501 ack 1 cut 1000",
        ),
    );
    // What the window does not take whole ends at a segment's border.
    run(
        Config { gso_bytes: Some(60_000), ..plain() },
        &opened(
            "10   < . 1 ack 1 win 2500
             10   write 9500
             10   > . 1..2001 ack 1 cut 1000",
        ),
    );
}

#[test]
fn keepalive_probes_an_idle_peer_and_gives_up() {
    let keepalive = KeepAlive { idle: Duration::from_secs(10), interval: Duration::from_secs(1), probes: 2 };
    run(
        Config { keepalive: Some(keepalive), ..plain() },
        &opened(
            "10000  > . 0 ack 1
             10010  < . 1 ack 1
             20010  > . 0 ack 1
             21010  > . 0 ack 1
             22010  event Failed(TimedOut)",
        ),
    );
}

#[test]
fn options_that_change_hold_from_now_on() {
    run(
        Config { nodelay: false, ..plain() },
        &opened(
            "10   write 5
             10   > P. 1..6 ack 1
             20   write 5
             # What Nagle's algorithm held back goes at once.
             25   set nodelay
             25   > P. 6..11 ack 1
             30   < . 1 ack 11
             # Ten seconds from when the peer was to be probed, though it was heard before.
             1000   set keepalive 10000 1000 1
             11000  > . 10 ack 1
             12000  event Failed(TimedOut)",
        ),
    );
    run(
        plain(),
        &opened(
            "10   write 5
             10   > P. 1..6 ack 1
             15   set user-timeout 100
             115  event Failed(TimedOut)",
        ),
    );
}

#[test]
fn rfc1191_a_smaller_path_mtu_sends_again_in_smaller_segments() {
    run(
        plain(),
        &opened(
            "10   write 2000
             10   > . 1..1001 ack 1
             10   > P. 1001..2001 ack 1
             # Nothing with this number is in flight: a forgery.
             11   mtu 540 seq 9999
             20   mtu 540 seq 1
             20   > . 1..501 ack 1
             20   > . 501..1001 ack 1
             20   > . 1001..1501 ack 1
             20   > . 1501..2001 ack 1",
        ),
    );
}

#[test]
fn segments_outside_the_window_are_answered_and_bring_nothing() {
    run(
        plain(),
        &opened(
            "10   < P. 1..101 ack 1
             50   > . 1 ack 101
             # An old duplicate, one half new, one beyond the window, one without ACK.
             60   < P. 1..101 ack 1
             60   dropped OutsideWindow
             60   > . 1 ack 101
             70   < P. 51..151 ack 1
             70   delivered 150
             110  > . 1 ack 151
             120  < P. 20000..20001 ack 1
             120  dropped OutsideWindow
             120  > . 1 ack 151
             130  < P 151..152
             130  dropped NoAcknowledgment
             140  < P. 151..152 ack 5000
             140  dropped BadAcknowledgment
             140  > . 1 ack 151
             140  delivered 150",
        ),
    );
}

#[test]
fn rounding_by_the_window_scale_takes_nothing_back() {
    run(
        Config { window_scaling: true, receive_bytes: 256 * 1024, ..plain() },
        "0   connect
         0   > S 0
         0   < S. 0 ack 1 mss 1000 ws 7
         0   > . 1 ack 1 win 32768
         10  < . 1..2 ack 1
         10  read 1
         50  > . 1 ack 2 win 32768",
    );
}

#[test]
fn rfc7323_timestamps_are_echoed_and_an_older_one_drops_the_segment() {
    run(
        Config { timestamps: true, ..plain() },
        "0   connect
         0   > S 0
         0   < S. 0 ack 1 mss 1000 ts 1000
         0   > . 1 ack 1 ecr 1000
         10  < . 1..1001 ack 1 ts 1010
         10  < . 1001..2001 ack 1 ts 1020
         # The echo is of the first segment that waited for the acknowledgment.
         10  > . 1 ack 2001 ecr 1010
         20  < . 2001..2101 ack 1 ts 900
         20  dropped OldTimestamp
         20  > . 1 ack 2001 ecr 1010
         20  delivered 2000",
    );
}
