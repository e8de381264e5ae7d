use std::fs::File;
use std::io::{Read, Write};

use super::*;

#[test]
fn descriptors_arrive_in_order_with_the_senders_credentials() {
    let (a, b) = seqpacket_pair().unwrap();
    enable_credentials(b.as_fd()).unwrap();
    let (first_out, first_in) = nix::unistd::pipe().unwrap();
    let (second_out, second_in) = nix::unistd::pipe().unwrap();
    send_with_fds(a.as_fd(), b"two ends", &[first_in.as_fd(), second_in.as_fd()]).unwrap();
    drop((first_in, second_in));

    let mut buffer = [0; 64];
    let received = receive_with_fds(b.as_fd(), &mut buffer).unwrap();
    assert_eq!(&buffer[..received.length], b"two ends");
    let sender = received.credentials.unwrap();
    assert_eq!(sender.pid, nix::unistd::getpid().as_raw());
    assert_eq!(sender.uid, nix::unistd::getuid().as_raw());
    for (n, fd) in received.fds.into_iter().enumerate() {
        assert!(fcntl(&fd, FcntlArg::F_GETFD).unwrap() & libc::FD_CLOEXEC != 0, "not passed on by exec");
        File::from(fd).write_all(&[n as u8]).unwrap();
    }
    for (n, out) in [first_out, second_out].into_iter().enumerate() {
        let mut bytes = Vec::new();
        File::from(out).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [n as u8], "end of file says that every copy was closed");
    }
}

#[test]
fn as_many_descriptors_as_the_kernel_passes_fit_beside_credentials() {
    let (a, b) = seqpacket_pair().unwrap();
    enable_credentials(b.as_fd()).unwrap();
    let fds = vec![a.as_fd(); MAX_FDS];
    send_with_fds(a.as_fd(), b"x", &fds).unwrap();
    let received = receive_with_fds(b.as_fd(), &mut [0; 8]).unwrap();
    assert_eq!(received.fds.len(), MAX_FDS);
    assert!(received.credentials.is_some());
}

#[test]
fn a_message_that_does_not_fit_is_an_error_and_leaks_no_descriptor() {
    let (a, b) = seqpacket_pair().unwrap();
    let (out, into) = nix::unistd::pipe().unwrap();
    send_with_fds(a.as_fd(), &[1; 100], &[into.as_fd()]).unwrap();
    drop(into);
    let error = receive_with_fds(b.as_fd(), &mut [0; 99]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(File::from(out).read(&mut [0; 1]).unwrap(), 0, "the received copy was closed");
}

#[test]
fn the_end_of_a_link_reads_as_nothing_and_writes_as_broken() {
    let (a, b) = seqpacket_pair().unwrap();
    set_nonblocking(b.as_fd()).unwrap();
    let error = receive_with_fds(b.as_fd(), &mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(a);
    assert_eq!(receive_with_fds(b.as_fd(), &mut [0; 8]).unwrap().length, 0);
    assert_eq!(send_with_fds(b.as_fd(), b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_network_device_gets_no_name_that_the_kernel_would_cut() {
    let long = "x".repeat(libc::IFNAMSIZ);
    for (from, to) in [(long.as_str(), "slot1"), ("eth0", long.as_str())] {
        assert_eq!(rename_network_device(from, to).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert!(rename_network_device("none-of-ours", "slot1").is_err(), "there is no such device");
}
