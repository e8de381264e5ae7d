//! The codec: what is written is read, and nothing else is.

use distance_vector::packet::{Entry, INFINITY, decode, encode};

#[test]
fn an_update_reads_back_and_garbage_is_none() {
    let network = "198.51.100.0/24".parse().unwrap();
    let entries = vec![Entry { network, metric: 3 }, Entry { network, metric: INFINITY }];
    assert_eq!(decode(&encode(&entries)), Some(entries));
    assert_eq!(decode(b"DV\x01"), Some(Vec::new()));
    let long = b"DV\x01\x0a\0\0\0\x21\x01";
    let host_bits = b"DV\x01\x0a\0\0\x01\x18\x01";
    for garbage in [&b""[..], b"DV", b"DV\x02", b"DV\x01\x01", long, host_bits] {
        assert_eq!(decode(garbage), None, "{garbage:?}");
    }
}
