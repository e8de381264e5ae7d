use super::*;

#[test]
fn bytes_arrive_in_order_and_the_end_after_them() {
    let (mut a, mut b) = Channel::pair().unwrap();
    assert_eq!(a.write(b"hello").unwrap(), 5);
    a.close_write();
    let mut buffer = [0; 16];
    assert!(!b.is_finished());
    assert_eq!(b.read(&mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"hello");
    assert_eq!(b.read(&mut buffer).unwrap(), 0);
    assert!(b.is_finished());
}
