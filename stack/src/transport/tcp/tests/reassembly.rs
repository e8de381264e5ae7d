//! Receipt out of order, by script and against a naive model.

use proptest::prelude::*;

use super::close::opened;
use super::script::{plain, run};
use super::{PatternSink, pattern};
use crate::transport::tcp::Config;
use crate::transport::tcp::receive::Receive;
use crate::transport::tcp::sack::Scoreboard;
use crate::wire::tcp::SeqNumber;

#[test]
fn what_lies_behind_a_gap_is_kept_and_acknowledged_at_once_when_the_gap_closes() {
    run(
        plain(),
        &opened(
            "10   < . 1001..2001 ack 1
             10   > . 1 ack 1
             11   < . 2001..3001 ack 1
             11   > . 1 ack 1
             11   delivered 0
             20   < . 1..1001 ack 1
             20   > . 1 ack 3001
             20   delivered 3000",
        ),
    );
}

#[test]
fn rfc2018_sack_blocks_tell_the_latest_arrival_first() {
    run(
        Config { sack: true, ..plain() },
        "0    connect
         0    > S 0
         0    < S. 0 ack 1 mss 1000 sackok yes
         0    > . 1 ack 1
         10   < . 1001..2001 ack 1
         10   > . 1 ack 1 sack 1001..2001
         11   < . 5001..6001 ack 1
         11   > . 1 ack 1 sack 5001..6001 sack 1001..2001
         12   < . 3001..4001 ack 1
         12   > . 1 ack 1 sack 3001..4001 sack 1001..2001 sack 5001..6001
         13   < . 2001..3001 ack 1
         13   > . 1 ack 1 sack 1001..4001 sack 5001..6001
         14   < . 1..1001 ack 1
         14   > . 1 ack 4001 sack 5001..6001",
    );
}

#[test]
fn a_fin_behind_a_gap_counts_when_the_gap_closes() {
    run(
        plain(),
        &opened(
            "10   < F. 101..201 ack 1
             10   > . 1 ack 1
             10   state ESTABLISHED
             20   < . 1..101 ack 1
             20   > . 1 ack 202
             20   state CLOSE-WAIT
             20   end-of-file",
        ),
    );
}

#[test]
fn a_fin_counts_although_the_window_is_full() {
    run(
        Config { receive_bytes: 2000, ..plain() },
        &opened(
            "10   < F. 1001..2001 ack 1
             10   > . 1 ack 1 win 2000
             30   < . 1..1001 ack 1
             30   > . 1 ack 2002 win 0
             30   delivered 2000
             30   end-of-file",
        ),
    );
}

/// Ranges in sequence space that starts shortly before the wrap.
const START: SeqNumber = SeqNumber(u32::MAX - 500);

proptest! {
    #[test]
    fn segments_in_any_order_and_overlap_come_out_as_the_stream(
        segments in proptest::collection::vec((0_usize..2_000, 1_usize..300), 1..100),
        capacity in 1_usize..3_000,
    ) {
        let mut receive = Receive::new(capacity, 1460, 0);
        receive.synchronize(START - 1);
        let mut sink = PatternSink { capacity, ..PatternSink::default() };
        let mut seen = vec![false; 3_000];
        for (offset, length) in segments {
            receive.window_field();
            let payload: Vec<u8> = (offset..offset + length).map(pattern).collect();
            receive.accept(START + offset, &payload, &mut sink);
            seen[offset..offset + length].fill(true);
            let blocks = receive.sack_blocks();
            for block in blocks.as_slice() {
                prop_assert!(block.start.after(receive.nxt) && block.start.before(block.end));
            }
            // Everything that came without a gap is delivered, as far as the first window reached.
            let whole = seen.iter().take_while(|seen| **seen).count().min(capacity);
            prop_assert_eq!(sink.delivered, whole);
            prop_assert_eq!(receive.nxt, START + sink.delivered);
        }
    }

    #[test]
    fn the_scoreboard_agrees_with_a_naive_one(
        blocks in proptest::collection::vec((0_usize..1_000, 1_usize..100), 1..40),
        una in 0_usize..1_000,
    ) {
        let mut board = Scoreboard::default();
        let mut held = vec![false; 1_200];
        for (start, length) in blocks {
            let news = held[start..start + length].iter().any(|held| !held);
            prop_assert_eq!(board.insert(START + start, START + start + length), news);
            held[start..start + length].fill(true);
        }
        board.forget_before(START + una);
        held[..una].fill(false);
        let count = |from: usize, to: usize| held[from..to].iter().filter(|held| **held).count();
        prop_assert_eq!(board.covered(START + una, START + 1_100), count(una, 1_100));
        let first = (una..1_100).find(|at| !held[*at]);
        let end = first.and_then(|first| (first..1_100).find(|at| held[*at])).unwrap_or(1_100);
        let expected = first.map(|first| (START + first, START + end));
        prop_assert_eq!(board.hole(START + una, START + 1_100), expected);
        let third = (0..1_200).rev().filter(|at| held[*at]).nth(2).map(|at| START + at);
        prop_assert_eq!(board.below_top(3), third);
    }
}
