//! Closing: RFC 9293 section 3.6, TIME-WAIT, aborts.

use std::cell::Cell;

use super::script::{parse, plain, run};
use crate::time::Time;
use crate::transport::tcp::SendSource;
use crate::wire::tcp::{TcpFlags, TcpSegment};

/// An open at 0 ms, so that scripts start with what they are about.
pub fn opened(rest: &str) -> String {
    format!(
        "0 connect
         0 > S 0
         0 < S. 0 ack 1 win 10000 mss 1000
         0 > . 1 ack 1
         0 event Connected
         {rest}"
    )
}

#[test]
fn rfc9293_figure_12_an_orderly_close_by_us() {
    let connection = run(
        plain(),
        &opened(
            "10     write 5
             10     > P. 1..6 ack 1
             10     close
             10     > F. 6 ack 1
             10     state FIN-WAIT-1
             20     < . 1 ack 7
             20     state FIN-WAIT-2
             30     < F. 1 ack 7
             30     > . 7 ack 2
             30     state TIME-WAIT
             30     end-of-file
             30     event RemoteFinished
             # The last acknowledgment was lost: TIME-WAIT begins anew.
             1000   < F. 1 ack 7
             1000   > . 7 ack 2
             60999  state TIME-WAIT
             61000  state CLOSED
             61000  event Closed",
        ),
    );
    assert_eq!(connection.poll_timeout(), None);
}

#[test]
fn rfc9293_figure_12_an_orderly_close_by_the_peer() {
    run(
        plain(),
        &opened(
            "10  < FP. 1..4 ack 1
             10  > . 1 ack 5
             10  delivered 3
             10  end-of-file
             10  event RemoteFinished
             10  state CLOSE-WAIT
             # Half-closed: we still send.
             20  write 5
             20  > P. 1..6 ack 5
             30  < . 5 ack 6
             30  close
             30  > F. 6 ack 5
             30  state LAST-ACK
             40  < . 5 ack 7
             40  state CLOSED
             40  event Closed",
        ),
    );
}

#[test]
fn a_reset_after_the_peers_end_is_a_broken_pipe() {
    run(
        plain(),
        &opened(
            "10  < F. 1 ack 1
             10  > . 1 ack 2
             10  end-of-file
             10  event RemoteFinished
             20  write 5
             20  > P. 1..6 ack 2
             30  < R 2
             30  event Failed(ResetAfterEnd)",
        ),
    );
}

#[test]
fn rfc9293_figure_13_both_close_at_once() {
    run(
        plain(),
        &opened(
            "10     close
             10     > F. 1 ack 1
             15     < F. 1 ack 1
             15     > . 2 ack 2
             15     state CLOSING
             20     < . 2 ack 2
             20     state TIME-WAIT
             60020  state CLOSED",
        ),
    );
}

#[test]
fn the_peer_may_send_long_after_we_half_closed() {
    run(
        plain(),
        &opened(
            "10      finish
             10      > F. 1 ack 1
             20      < . 1 ack 2
             20      state FIN-WAIT-2
             900000  < P. 1..101 ack 2
             900040  > . 2 ack 101
             900040  delivered 100
             900040  state FIN-WAIT-2",
        ),
    );
}

#[test]
fn a_lost_fin_is_sent_again_together_with_lost_data() {
    run(
        plain(),
        &opened(
            "10    write 5
             10    > P. 1..6 ack 1
             10    close
             10    > F. 6 ack 1
             210   > F. 1..6 ack 1
             220   < . 1 ack 7
             220   acknowledged 5
             220   state FIN-WAIT-2",
        ),
    );
}

#[test]
fn an_abort_resets_and_what_follows_is_reset_too() {
    run(
        plain(),
        &opened(
            "10  write 5
             10  > P. 1..6 ack 1
             10  abort
             10  > R. 6
             10  state CLOSED
             10  event Failed(Aborted)
             20  < . 1 ack 6
             20  dropped Closed
             20  > R 6",
        ),
    );
}

#[test]
fn an_orphan_does_not_wait_for_ever_and_resets_data_that_nobody_reads() {
    run(
        plain(),
        &opened(
            "10     orphan
             10     > F. 1 ack 1
             20     < . 1 ack 2
             20     state FIN-WAIT-2
             60020  state CLOSED
             60020  event Closed",
        ),
    );
    run(
        plain(),
        &opened(
            "10  orphan
             10  > F. 1 ack 1
             20  < P. 1..5 ack 2
             20  > R. 2
             20  state CLOSED",
        ),
    );
}

#[test]
fn rfc1337_a_reset_does_not_cut_time_wait_short() {
    run(
        plain(),
        &opened(
            "10  close
             10  > F. 1 ack 1
             20  < F. 1 ack 2
             20  > . 2 ack 2
             30  < R 2
             30  state TIME-WAIT",
        ),
    );
}

#[test]
fn a_newer_syn_may_replace_time_wait_and_an_older_may_not() {
    let connection = run(
        plain(),
        &opened(
            "10  close
             10  > F. 1 ack 1
             20  < F. 1 ack 2
             20  > . 2 ack 2",
        ),
    );
    let replaces = |text| {
        let (repr, payload) = parse(text);
        connection.may_be_replaced_by(&TcpSegment { repr, payload: &payload })
    };
    assert!(replaces("S 5000"));
    assert!(!replaces("S 1"));
    assert!(!replaces("S. 5000 ack 1"));
    assert!(!replaces(". 5000 ack 1"));
}

#[test]
fn a_close_before_the_handshake_ends_at_once() {
    run(
        plain(),
        "0  connect
         0  > S 0
         5  close
         5  state CLOSED
         5  event Closed",
    );
}

/// An application that writes its last bytes and ends between two looks at it.
#[derive(Default)]
struct EndsMeanwhile {
    looks: Cell<usize>,
}

impl EndsMeanwhile {
    fn has_ended(&self) -> bool {
        self.looks.replace(self.looks.get() + 1) > 0
    }
}

impl SendSource for EndsMeanwhile {
    fn available(&self) -> usize {
        if self.has_ended() { 5 } else { 0 }
    }
    fn copy(&self, ahead: usize, into: &mut [u8]) -> usize {
        into.len().min(5usize.saturating_sub(ahead))
    }
    fn consume(&mut self, _: usize) {}
    fn finished(&self) -> bool {
        self.has_ended()
    }
}

#[test]
fn bytes_that_are_written_just_before_the_end_go_before_the_fin() {
    let mut connection = run(plain(), &opened(""));
    let (source, mut payload) = (EndsMeanwhile::default(), [0; 100]);
    let mut sent = Vec::new();
    while let Some(out) = connection.poll_transmit(Time::ZERO, &source, &mut payload) {
        sent.push((out.payload_bytes, out.repr.flags.contains(TcpFlags::FIN)));
    }
    assert_eq!(sent.iter().map(|(bytes, _)| bytes).sum::<usize>(), 5, "{sent:?}");
    assert_eq!(sent.iter().rposition(|(_, fin)| *fin), Some(sent.len() - 1), "{sent:?}");
}
