//! Loss: RFC 6298, RFC 5681, RFC 6582, RFC 2018.

use std::time::Duration;

use super::close::opened;
use super::script::{MINUTE, plain, run};
use crate::transport::tcp::Config;

#[test]
fn rfc6298_unacknowledged_data_is_sent_again_with_back_off_until_the_user_timeout() {
    run(
        Config { user_timeout: Some(MINUTE / 10), ..plain() },
        &opened(
            "10    write 5
             10    > P. 1..6 ack 1
             210   > . 1..6 ack 1
             610   > . 1..6 ack 1
             1410  > . 1..6 ack 1
             3010  > . 1..6 ack 1
             6010  event Failed(TimedOut)",
        ),
    );
}

#[test]
fn progress_ends_the_back_off() {
    run(
        plain(),
        &opened(
            "10    write 5
             10    > P. 1..6 ack 1
             210   > . 1..6 ack 1
             610   > . 1..6 ack 1
             620   < . 1 ack 6
             1000  write 5
             1000  > P. 6..11 ack 1
             1200  > . 6..11 ack 1",
        ),
    );
}

#[test]
fn rfc6298_section_3_karn_a_retransmitted_segment_gives_no_sample() {
    let connection = run(
        plain(),
        &opened(
            "10   write 5
             10   > P. 1..6 ack 1
             210  > . 1..6 ack 1
             610  > . 1..6 ack 1
             990  < . 1 ack 6",
        ),
    );
    assert_eq!(connection.round_trip_time(), Some(Duration::ZERO), "only the handshake was timed");
}

#[test]
fn rfc5681_the_third_duplicate_acknowledgment_sends_the_first_segment_again() {
    run(
        plain(),
        &opened(
            "10   write 5000
             10   > . 1..1001 ack 1
             10   > . 1001..2001 ack 1
             10   > . 2001..3001 ack 1
             10   > . 3001..4001 ack 1
             10   > P. 4001..5001 ack 1
             20   < . 1 ack 1
             21   < . 1 ack 1
             22   < . 1 ack 1
             22   > . 1..1001 ack 1
             23   < . 1 ack 1
             32   < . 1 ack 5001
             32   acknowledged 5000",
        ),
    );
}

#[test]
fn rfc6582_a_partial_acknowledgment_sends_the_next_hole_again() {
    run(
        plain(),
        &opened(
            "10   write 6000
             10   > . 1..1001 ack 1
             10   > . 1001..2001 ack 1
             10   > . 2001..3001 ack 1
             10   > . 3001..4001 ack 1
             10   > . 4001..5001 ack 1
             10   > P. 5001..6001 ack 1
             20   < . 1 ack 1
             20   < . 1 ack 1
             20   < . 1 ack 1
             20   > . 1..1001 ack 1
             30   < . 1 ack 2001
             30   > . 2001..3001 ack 1
             40   < . 1 ack 6001
             40   acknowledged 6000",
        ),
    );
}

#[test]
fn a_window_update_is_no_duplicate_acknowledgment() {
    run(
        plain(),
        &opened(
            "10   write 1000
             10   > P. 1..1001 ack 1
             20   < . 1 ack 1 win 9001
             20   < . 1 ack 1 win 9002
             20   < . 1 ack 1 win 9003
             20   < . 1 ack 1 win 9004
             30   < . 1 ack 1001",
        ),
    );
}

#[test]
fn rfc6675_only_the_holes_between_sack_blocks_are_sent_again() {
    run(
        Config { sack: true, ..plain() },
        "0    connect
         0    > S 0
         0    < S. 0 ack 1 mss 1000 sackok yes
         0    > . 1 ack 1
         10   write 8000
         10   > . 1..1001 ack 1
         10   > . 1001..2001 ack 1
         10   > . 2001..3001 ack 1
         10   > . 3001..4001 ack 1
         10   > . 4001..5001 ack 1
         10   > . 5001..6001 ack 1
         10   > . 6001..7001 ack 1
         10   > P. 7001..8001 ack 1
         # 1..1001 and 2001..3001 were lost.
         20   < . 1 ack 1 sack 1001..2001
         21   < . 1 ack 1 sack 3001..4001 sack 1001..2001
         22   < . 1 ack 1 sack 3001..5001 sack 1001..2001
         22   > . 1..1001 ack 1
         23   < . 1 ack 1 sack 3001..7001 sack 1001..2001
         23   > . 2001..3001 ack 1
         24   < . 1 ack 1 sack 3001..8001 sack 1001..2001
         32   < . 1 ack 2001 sack 3001..8001
         33   < . 1 ack 8001
         33   acknowledged 8000",
    );
}

#[test]
fn sack_blocks_that_lie_are_ignored() {
    run(
        Config { sack: true, ..plain() },
        "0    connect
         0    > S 0
         0    < S. 0 ack 1 mss 1000 sackok yes
         0    > . 1 ack 1
         10   write 1000
         10   > P. 1..1001 ack 1
         20   < . 1 ack 1 sack 5001..6001 sack 300..200
         20   < . 1 ack 1 sack 0..1001
         210  > . 1..1001 ack 1",
    );
}

#[test]
fn rfc5681_section_3_1_after_a_timeout_sending_starts_slowly() {
    run(
        plain(),
        &opened(
            "10    write 4000
             10    > . 1..1001 ack 1
             10    > . 1001..2001 ack 1
             10    > . 2001..3001 ack 1
             10    > P. 3001..4001 ack 1
             210   > . 1..1001 ack 1
             220   < . 1 ack 1001
             220   > . 1001..2001 ack 1
             220   > . 2001..3001 ack 1
             230   < . 1 ack 3001
             230   > . 3001..4001 ack 1
             240   < . 1 ack 4001
             240   acknowledged 4000",
        ),
    );
}
