//! The codec: whatever the bytes, no panic; what is written is read again.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn kind() -> impl Strategy<Value = LsaType> {
    prop::sample::select([1, 2, 3, 4, 5, 7, 9, 10, 11].map(|code| LsaType::from_code(code).unwrap()).to_vec())
}

fn key() -> impl Strategy<Value = LsaKey> {
    (kind(), address(), address()).prop_map(|(kind, id, router)| LsaKey { kind, id, router })
}

fn link() -> impl Strategy<Value = RouterLink> {
    use RouterLinkKind::{PointToPoint, Stub, Transit, Virtual};
    (prop::sample::select(vec![PointToPoint, Transit, Stub, Virtual]), address(), address(), any::<u16>())
        .prop_map(|(kind, id, data, metric)| RouterLink { kind, id, data, metric })
}

fn mask() -> impl Strategy<Value = Ipv4Addr> {
    (0u8..=32).prop_map(|length| ipnet::Ipv4Net::new(Ipv4Addr::UNSPECIFIED, length).unwrap().netmask())
}

/// A body that fits a type.
fn body(kind: LsaType) -> BoxedStrategy<Vec<u8>> {
    match kind {
        LsaType::Router => (any::<u8>(), prop::collection::vec(link(), 0..20))
            .prop_map(|(flags, links)| RouterLsa::encode(RouterFlags(flags), &links))
            .boxed(),
        LsaType::Network => (mask(), prop::collection::vec(address(), 1..20))
            .prop_map(|(mask, routers)| NetworkLsa::encode(mask, &routers))
            .boxed(),
        LsaType::SummaryNetwork | LsaType::SummaryAsbr => {
            (mask(), any::<u32>()).prop_map(|(mask, metric)| SummaryLsa::encode(mask, metric)).boxed()
        }
        LsaType::External | LsaType::Nssa => (mask(), any::<u32>(), address(), any::<u32>())
            .prop_map(|(mask, metric, forwarding, tag)| {
                let prefix = ipnet::Ipv4Net::with_netmask(Ipv4Addr::UNSPECIFIED, mask).unwrap();
                ExternalLsa { prefix, metric: ExternalMetric::Type2(metric), forwarding, tag }.encode()
            })
            .boxed(),
        LsaType::OpaqueLink | LsaType::OpaqueArea | LsaType::OpaqueAs => {
            prop::collection::vec(any::<u8>(), 0..60).boxed()
        }
    }
}

fn lsa() -> impl Strategy<Value = Lsa> {
    key().prop_flat_map(|key| (Just(key), body(key.kind), any::<u8>(), -0x7fff_ffff..i32::MAX)).prop_map(
        |(key, body, options, sequence)| {
            Lsa::originate(key, Options(options), SequenceNumber(sequence), &body).unwrap()
        },
    )
}

/// Reads everything that can be read.
fn read_all(bytes: &[u8]) -> Result<usize, PacketError> {
    let frame = Frame::parse(bytes)?;
    frame.checksum_is_right();
    Ok(match Body::parse(&frame)? {
        Body::Hello(hello) => hello.neighbors().count(),
        Body::DatabaseDescription(description) => description.headers().filter(Result::is_ok).count(),
        Body::LinkStateRequest(request) => request.keys().flatten().count(),
        Body::LinkStateUpdate(update) => {
            let mut read = 0;
            for lsa in update.lsas().flatten() {
                read += match lsa.body()? {
                    LsaBody::Router(router) => router.links().filter_map(|link| link.prefix()).count(),
                    LsaBody::Network(network) => network.routers().count(),
                    LsaBody::Summary(_) | LsaBody::External(_) | LsaBody::Opaque(_) => 1,
                };
            }
            read
        }
        Body::LinkStateAcknowledgment(acknowledgment) => acknowledgment.headers().filter(Result::is_ok).count(),
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_all(&bytes);
    }

    #[test]
    fn any_body_behind_a_good_header_is_read_or_refused_without_a_panic(
        code in 1u8..=5,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let kind = PacketKind::from_code(code).unwrap();
        let packet = encode(kind, Ipv4Addr::LOCALHOST, BACKBONE, |into| into.extend(&bytes));
        let _ = read_all(&packet);
    }

    #[test]
    fn a_damaged_update_is_read_or_refused_without_a_panic(
        lsas in prop::collection::vec(lsa(), 1..4),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut packet = encode(PacketKind::LinkStateUpdate, Ipv4Addr::LOCALHOST, BACKBONE, |into| {
            LinkStateUpdate::encode(lsas.iter().map(|lsa| (lsa, 0)), into);
        });
        let place = place.index(packet.len());
        packet[place] = byte;
        let _ = read_all(&packet);
    }

    #[test]
    fn an_lsa_is_read_as_it_was_written(lsa in lsa(), age in 0u16..=3600) {
        let mut bytes = Vec::new();
        lsa.encode(age, &mut bytes);
        let read = Lsa::parse(&bytes);
        prop_assert_eq!(read.as_ref().map(|read| read.header), Ok(LsaHeader { age, ..lsa.header }));
        prop_assert_eq!(read.as_ref().map(Lsa::body_bytes), Ok(lsa.body_bytes()));
        let mut header = Vec::new();
        lsa.header.encode(&mut header);
        prop_assert_eq!(LsaHeader::parse(&header), Ok(lsa.header));
    }

    #[test]
    fn one_changed_byte_of_an_lsa_is_noticed(lsa in lsa(), place in any::<prop::sample::Index>(), xor in 1u8..=255) {
        let mut bytes = Vec::new();
        lsa.encode(1, &mut bytes);
        let place = 2 + place.index(bytes.len() - 2);
        // In the sums modulo 255 the bytes 0 and 255 are the same.
        prop_assume!(bytes[place] ^ xor != !bytes[place] || !matches!(bytes[place], 0 | 255));
        bytes[place] ^= xor;
        prop_assert_eq!(Lsa::parse(&bytes), Err(PacketError::LsaChecksum));
    }

    #[test]
    fn links_of_a_router_are_read_as_they_were_written(flags in any::<u8>(), links in prop::collection::vec(link(), 0..20)) {
        let bytes = RouterLsa::encode(RouterFlags(flags), &links);
        let key = LsaKey::new(LsaType::Router, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        let Ok(LsaBody::Router(router)) = LsaBody::parse(key, &bytes) else { panic!("a router-LSA") };
        prop_assert_eq!((router.flags, router.links().collect::<Vec<_>>()), (RouterFlags(flags), links));
    }

    #[test]
    fn packets_are_read_as_they_were_written(
        neighbors in prop::collection::vec(address(), 0..9),
        keys in prop::collection::vec(key(), 0..9),
        lsas in prop::collection::vec(lsa(), 0..5),
        fields in (mask(), any::<u16>(), any::<u32>(), any::<u8>(), address(), address()),
    ) {
        let (mask, short, long, byte, one, other) = fields;
        let headers: Vec<_> = lsas.iter().map(|lsa| lsa.header).collect();
        let read = |kind, write: &dyn Fn(&mut Vec<u8>), check: &dyn Fn(Body<'_>)| {
            let packet = encode(kind, one, other, |into| write(into));
            let frame = Frame::parse(&packet).unwrap();
            assert_eq!((frame.kind, frame.router, frame.area, frame.trailer), (kind, one, other, &[][..]));
            check(Body::parse(&frame).unwrap());
        };
        let mut hello = Hello::new(mask, short, long, Options(byte), byte);
        (hello.designated, hello.backup) = (one, other);
        read(PacketKind::Hello, &|into| hello.encode(neighbors.iter().copied(), into), &|body| {
            let Body::Hello(read) = body else { panic!("{body:?}") };
            assert_eq!(read.neighbors().collect::<Vec<_>>(), neighbors);
            let fields = |hello: Hello<'_>| {
                let timers = (hello.hello_interval, hello.dead_interval);
                (hello.mask, timers, hello.options, hello.priority, hello.designated, hello.backup)
            };
            assert_eq!(fields(read), fields(hello));
        });
        let description = DatabaseDescription::new(short, Options(byte), DescriptionFlags(byte & 7), long);
        read(PacketKind::DatabaseDescription, &|into| description.encode(&headers, into), &|body| {
            let Body::DatabaseDescription(read) = body else { panic!("{body:?}") };
            assert_eq!(read.headers().collect::<Result<Vec<_>, _>>().unwrap(), headers);
            let fields = |read: DatabaseDescription<'_>| (read.mtu, read.options, read.flags, read.sequence);
            assert_eq!(fields(read), fields(description));
        });
        read(PacketKind::LinkStateRequest, &|into| LinkStateRequest::encode(&keys, into), &|body| {
            let Body::LinkStateRequest(read) = body else { panic!("{body:?}") };
            assert_eq!(read.keys().map(Option::unwrap).collect::<Vec<_>>(), keys);
        });
        let with_age = lsas.iter().map(|lsa| (lsa, 7));
        read(PacketKind::LinkStateUpdate, &|into| LinkStateUpdate::encode(with_age.clone(), into), &|body| {
            let Body::LinkStateUpdate(read) = body else { panic!("{body:?}") };
            let read: Vec<_> = read.lsas().map(Result::unwrap).collect();
            assert_eq!(read.iter().map(Lsa::key).collect::<Vec<_>>(), lsas.iter().map(Lsa::key).collect::<Vec<_>>());
            assert!(read.iter().all(|lsa| lsa.header.age == 7));
        });
        read(PacketKind::LinkStateAcknowledgment, &|into| LinkStateAcknowledgment::encode(&headers, into), &|body| {
            let Body::LinkStateAcknowledgment(read) = body else { panic!("{body:?}") };
            assert_eq!(read.headers().collect::<Result<Vec<_>, _>>().unwrap(), headers);
        });
    }
}

#[test]
fn each_wrong_header_has_its_reason() {
    let good = encode(PacketKind::LinkStateRequest, Ipv4Addr::LOCALHOST, BACKBONE, |into| into.extend([0; 12]));
    let with = |place: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[place] = byte;
        read_all(&bytes)
    };
    assert_eq!(with(0, 3), Err(PacketError::Version));
    assert_eq!(with(1, 6), Err(PacketError::Type));
    assert_eq!(with(3, 37), Err(PacketError::TooShort));
    assert_eq!(with(3, 23), Err(PacketError::TooShort));
    assert_eq!(with(3, 35), Err(PacketError::Body));
    assert_eq!(read_all(&good[..23]), Err(PacketError::TooShort));
}

#[test]
fn each_wrong_lsa_has_its_reason_and_the_next_one_is_read() {
    let at = |octet| Ipv4Addr::new(10, 0, 0, octet);
    let make = |kind, sequence, body: &[u8]| {
        Lsa::originate(LsaKey::new(kind, at(0), at(1)), Options::E, SequenceNumber(sequence), body).unwrap()
    };
    let hole = [255, 0, 255, 0, 0, 0, 0, 1];
    let lsas = [
        (make(LsaType::SummaryNetwork, 1, &SummaryLsa::encode(at(0), 1)), 0),
        (make(LsaType::SummaryNetwork, 1, &hole), 0),
        (make(LsaType::SummaryNetwork, i32::MIN, &[255, 255, 255, 0, 0, 0, 0, 1]), 0),
        (make(LsaType::SummaryNetwork, 1, &[255, 255, 255, 0, 0, 0, 0, 1]), 3601),
        (make(LsaType::SummaryNetwork, 1, &[255, 255, 255, 0]), 0),
        (make(LsaType::Network, 1, &[255, 255, 255, 0]), 0),
        (make(LsaType::Router, 1, &[0, 0, 0, 1]), 0),
        (make(LsaType::SummaryNetwork, 1, &[255, 255, 255, 0, 0, 0, 0, 1]), 3600),
    ];
    let packet = encode(PacketKind::LinkStateUpdate, at(1), BACKBONE, |into| {
        LinkStateUpdate::encode(lsas.iter().map(|(lsa, age)| (lsa, *age)), into);
    });
    let frame = Frame::parse(&packet).unwrap();
    let Ok(Body::LinkStateUpdate(update)) = Body::parse(&frame) else { panic!("an update") };
    let read: Vec<_> = update.lsas().map(|lsa| lsa.err()).collect();
    use PacketError::{LsaAge, LsaBody, LsaLength, LsaSequence};
    let wrong = [LsaBody, LsaBody, LsaSequence, LsaAge, LsaLength, LsaLength, LsaLength].map(Some);
    assert_eq!(read, [&wrong[..], &[None]].concat());
}

#[test]
fn rfc_2328_section_13_1_the_newer_instance() {
    let key = LsaKey::new(LsaType::Router, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
    let header = |sequence, checksum, age| LsaHeader {
        age,
        options: Options::E,
        key,
        sequence: SequenceNumber(sequence),
        checksum,
        length: 24,
    };
    let newer = [
        (header(2, 0, 3600), header(1, 9, 0)),
        (header(1, 0, 0), header(-0x7fff_ffff, 0, 0)),
        (header(1, 9, 0), header(1, 8, 0)),
        (header(1, 1, 3600), header(1, 1, 3599)),
        (header(1, 1, 10), header(1, 1, 911)),
    ];
    for (one, other) in newer {
        assert_eq!((one.recency(&other), other.recency(&one)), (Recency::Newer, Recency::Older), "{one:?} {other:?}");
    }
    assert_eq!(header(1, 1, 10).recency(&header(1, 1, 910)), Recency::Same);
}

#[test]
fn an_instance_lies_in_the_memory_of_the_one_before_unless_that_is_held_or_has_another_size() {
    let key = LsaKey::new(LsaType::OpaqueArea, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
    let lsa = |sequence, body: &[u8]| Lsa::originate(key, Options::E, SequenceNumber(sequence), body).unwrap();
    let place = |lsa: &Lsa| lsa.body_bytes().as_ptr();
    let mut kept = lsa(1, b"one.");
    let before = place(&kept);
    kept.replace(lsa(2, b"two.").view());
    assert_eq!((kept.clone(), place(&kept)), (lsa(2, b"two."), before));
    let held = kept.clone();
    kept.replace(lsa(3, b"many").view());
    assert_eq!((held, &kept), (lsa(2, b"two."), &lsa(3, b"many")));
    kept.replace(lsa(4, b"more bytes..").view());
    assert_eq!(kept, lsa(4, b"more bytes.."));
}
