use std::thread;

use super::*;

const SOON: Duration = Duration::from_secs(20);

const SCHEMA: Schema = Schema::new("test");

type Numbers = MessageChannel<Vec<u64>, Vec<u64>>;

fn pair() -> (Numbers, Numbers) {
    let (a, b) = Channel::pair().unwrap();
    (MessageChannel::new(a, SCHEMA), MessageChannel::new(b, SCHEMA))
}

#[test]
fn messages_go_both_ways_in_order() {
    let (mut a, mut b) = pair();
    for n in 0..100 {
        a.send(&vec![n; n as usize]).unwrap();
        b.send(&vec![n]).unwrap();
    }
    for n in 0..100 {
        assert_eq!(b.receive().unwrap(), Some(vec![n; n as usize]));
        assert_eq!(a.receive().unwrap(), Some(vec![n]));
    }
    assert_eq!(a.receive().unwrap(), None);
}

#[test]
fn another_version_is_refused_and_both_are_named() {
    let (a, b) = Channel::pair().unwrap();
    let _old: Numbers = MessageChannel::new(a, SCHEMA);
    let mut new: Numbers = MessageChannel::new(b, SCHEMA.with_version(2));
    let error = new.receive().unwrap_err();
    assert!(matches!(error, MessageError::Schema { .. }));
    let text = error.to_string();
    assert!(text.contains("test\" version 1") && text.contains("test version 2"), "{text}");
}

#[test]
fn a_peer_that_does_not_greet_is_refused() {
    for record in [&b"GET / HTTP/1.1"[..], &[], &[0; 40]] {
        let (mut a, b) = Channel::pair().unwrap();
        a.write_record(record).unwrap();
        let mut messages: Numbers = MessageChannel::new(b, SCHEMA);
        assert!(matches!(messages.receive(), Err(MessageError::NoHello)));
    }
}

#[test]
fn a_record_that_is_no_message_is_an_error() {
    let (a, b) = Channel::pair().unwrap();
    let mut liar: MessageChannel<u8, u8> = MessageChannel::new(a, SCHEMA);
    let mut honest: MessageChannel<(), String> = MessageChannel::new(b, SCHEMA);
    liar.send(&200).unwrap();
    assert!(matches!(honest.receive(), Err(MessageError::Decode { size: 1, .. })));
}

#[test]
fn a_message_beyond_a_record_is_refused_and_the_channel_goes_on() {
    let (mut a, mut b) = pair();
    let error = a.send(&vec![u64::MAX; MAX_RECORD / 8]).unwrap_err();
    assert!(matches!(error, MessageError::TooLarge { limit: MAX_RECORD, .. }));
    a.send(&vec![1]).unwrap();
    assert_eq!(b.receive().unwrap(), Some(vec![1]));
}

#[test]
fn a_slow_reader_makes_the_queue_grow_to_its_limit_and_no_further() {
    let (a, b) = Channel::pair().unwrap();
    let mut a: Numbers = MessageChannel::with_queue_limit(a, SCHEMA, 1 << 20);
    let mut b: Numbers = MessageChannel::new(b, SCHEMA);
    let message = vec![u64::MAX; 1000];
    let mut sent = 0;
    let error = loop {
        match a.send(&message) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, MessageError::Overflow { limit_bytes: 1_048_576, .. }));
    assert!(!a.is_idle_outgoing());
    let mut received = 0;
    while received < sent {
        while let Some(found) = b.receive().unwrap() {
            assert!(found == message);
            received += 1;
        }
        assert_eq!(a.receive().unwrap(), None, "sends what was queued");
    }
    assert_eq!(b.receive().unwrap(), None);
    assert!(a.is_idle_outgoing() && a.queued_bytes() == 0);
}

#[test]
fn two_threads_that_both_send_more_than_fits_do_not_hang() {
    let (mut a, mut b) = pair();
    let echo = thread::spawn(move || {
        while let Some(message) = b.receive_timeout(SOON).or_else(closed).unwrap() {
            b.send(&message).unwrap();
        }
    });
    for n in 0..2000 {
        a.send(&vec![n; 100]).unwrap();
    }
    for n in 0..2000 {
        assert_eq!(a.receive_timeout(SOON).unwrap(), Some(vec![n; 100]));
    }
    a.close();
    echo.join().unwrap();
}

fn closed<T>(error: MessageError) -> Result<Option<T>, MessageError> {
    if matches!(error, MessageError::Closed) { Ok(None) } else { Err(error) }
}

#[test]
fn a_timeout_is_no_error() {
    let (mut a, _b) = pair();
    assert_eq!(a.receive_timeout(Duration::from_millis(2)).unwrap(), None);
}

#[test]
fn the_last_messages_of_a_peer_that_is_gone_are_received_first() {
    for orderly in [true, false] {
        let (mut a, mut b) = pair();
        assert_eq!(b.receive().unwrap(), None);
        a.send(&vec![1]).unwrap();
        a.send(&vec![2]).unwrap();
        if orderly {
            a.close();
        }
        drop(a);
        assert_eq!(b.receive_timeout(SOON).unwrap(), Some(vec![1]));
        assert_eq!(b.receive().unwrap(), Some(vec![2]));
        assert!(matches!(b.receive(), Err(MessageError::Closed)));
        assert!(matches!(b.send(&vec![3]), Err(MessageError::Closed)));
    }
}
