use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

#[test]
fn memory_that_could_shrink_is_refused() {
    let fd = memfd_create("test", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
    ftruncate(&fd, 4096).unwrap();
    assert!(matches!(Memory::map(fd.as_fd(), 4096), Err(MemoryError::Unsealed { found: 0, .. })));
    fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).unwrap();
    assert!(matches!(Memory::map(fd.as_fd(), 4096), Err(MemoryError::Unsealed { .. })));
}

#[test]
fn memory_of_another_size_is_refused() {
    for length in [0, 4096, 12_288] {
        let fd = create_sealed(length).unwrap();
        let found = Memory::map(fd.as_fd(), 8192).unwrap_err();
        assert!(matches!(found, MemoryError::Size { found, wanted: 8192 } if found == length as u64));
    }
}

#[test]
fn what_is_no_memfd_is_refused() {
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(matches!(Memory::map(file.as_fd(), 4096), Err(MemoryError::Kernel { .. })));
}

#[test]
fn a_sealed_memfd_keeps_its_size() {
    let fd = create_sealed(8192).unwrap();
    assert!(ftruncate(&fd, 4096).is_err());
    assert!(ftruncate(&fd, 16_384).is_err());
    assert!(
        fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).is_err(),
        "the peer cannot take our writing away"
    );
}

#[test]
fn two_mappings_share_bytes_and_punched_pages_read_as_zeros() {
    let fd = create_sealed(8192).unwrap();
    let one = Memory::map(fd.as_fd(), 8192).unwrap();
    let other = Memory::map(fd.as_fd(), 8192).unwrap();
    one.copy_in(4090, b"across the pages");
    let mut into = [0; 16];
    other.copy_out(4090, &mut into);
    assert_eq!(&into, b"across the pages");
    other.punch(4096..8192).unwrap();
    one.copy_out(4090, &mut into);
    assert_eq!(&into, b"across\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn what_is_mapped_near_is_the_same_memory() {
    let fds: Vec<_> = (0..2 * NEARS_PER_AREA).map(|_| create_sealed(2 * NEAR_BYTES).unwrap()).collect();
    let near: Vec<_> = fds.iter().map(|fd| Memory::map_near(fd.as_fd(), 2 * NEAR_BYTES).unwrap()).collect();
    for (n, (fd, memory)) in fds.iter().zip(&near).enumerate() {
        // At the start, across the end of the near part, behind it.
        let at = [0, NEAR_BYTES - 4, NEAR_BYTES];
        at.into_iter().for_each(|offset| memory.copy_in(offset, &n.to_ne_bytes()));
        let whole = Memory::map(fd.as_fd(), 2 * NEAR_BYTES).unwrap();
        let mut into = [0; 4];
        for (offset, expected) in [(0, n as u32), (NEAR_BYTES - 4, n as u32), (NEAR_BYTES, n as u32)] {
            whole.copy_out(offset, &mut into);
            assert_eq!(u32::from_ne_bytes(into), expected, "at {offset}");
        }
        memory.copy_out(0, &mut into);
        assert_eq!(u32::from_ne_bytes(into), n as u32);
        whole.punch(0..PAGE_BYTES).unwrap();
        memory.copy_out(0, &mut into);
        assert_eq!(into, [0; 4]);
    }
    drop(near);
    // Where others lay before.
    let again = Memory::map_near(fds[0].as_fd(), 2 * NEAR_BYTES).unwrap();
    again.copy_in(0, b"new");
    let mut into = [0; 3];
    Memory::map(fds[0].as_fd(), 2 * NEAR_BYTES).unwrap().copy_out(0, &mut into);
    assert_eq!(&into, b"new");
}

#[test]
#[should_panic(expected = "offset outside of shared memory")]
fn a_copy_past_the_end_is_stopped() {
    let fd = create_sealed(4096).unwrap();
    Memory::map(fd.as_fd(), 4096).unwrap().copy_in(4090, &[0; 7]);
}

#[test]
fn slots_are_zeroed_distinct_and_used_again() {
    struct Word(AtomicU64);
    // SAFETY: An atomic.
    unsafe impl Shared for Word {}
    let slots: Vec<Slot<Word>> = (0..3 * SLOTS_PER_AREA).map(|_| Slot::new().unwrap()).collect();
    for (n, slot) in slots.iter().enumerate() {
        assert_eq!(slot.0.swap(n as u64 + 1, Ordering::Relaxed), 0);
    }
    assert!(slots.iter().enumerate().all(|(n, slot)| slot.0.load(Ordering::Relaxed) == n as u64 + 1));
    drop(slots);
    assert_eq!(Slot::<Word>::new().unwrap().0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_slot_is_used_again_once_all_who_share_it_have_dropped_it() {
    let slot = Slot::<Sharers>::new().unwrap();
    let place = slot.place();
    turn::prepare().unwrap();
    slot.share().unwrap();
    assert!(slot.is_shared());
    // As in a child: the same slot, for another holder.
    let childs = Slot::<Sharers>::at(slot.area.clone(), slot.offset, getpid());
    drop(slot);
    assert!(!childs.is_shared());
    // Other tests take slots at the same time: this one is not among them.
    let others: Vec<_> = (0..100).map(|_| Slot::<Sharers>::new().unwrap()).collect();
    assert!(others.iter().all(|other| other.place() != place));
    // A child that was forked for something else has nothing to give back.
    childs.holder.store(1, Ordering::Relaxed);
    drop(childs);
    let others: Vec<_> = (0..100).map(|_| Slot::<Sharers>::new().unwrap()).collect();
    assert!(others.iter().all(|other| other.place() != place));
}

#[test]
fn a_slot_that_another_program_takes_over_is_the_same_place() {
    let slots: Vec<_> = (0..2).map(|_| Slot::<Sharers>::new().unwrap()).collect();
    turn::prepare().unwrap();
    let (area, offset) = slots[1].parts();
    slots[1].expect_successor();
    let again = Slot::<Sharers>::take_over(area.try_clone_to_owned().unwrap(), offset).unwrap();
    again.adopt();
    assert_eq!(again.place(), slots[1].place());
    assert_ne!(again.place(), slots[0].place());
    again.pending.store(7, Ordering::Relaxed);
    assert_eq!(slots[1].pending.load(Ordering::Relaxed), 7);
    // Of the same area, which is mapped once.
    let (area, offset) = slots[0].parts();
    let other = Slot::<Sharers>::take_over(area.try_clone_to_owned().unwrap(), offset).unwrap();
    assert!(Arc::ptr_eq(&other.area, &again.area) || slots[0].area.number != slots[1].area.number);
    for bad in [offset + 1, AREA_BYTES, usize::MAX - 127] {
        let area = slots[0].parts().0.try_clone_to_owned().unwrap();
        assert!(matches!(Slot::<Sharers>::take_over(area, bad), Err(MemoryError::NoSlot { .. })));
    }
    // The program that had them before does not give them back.
    slots.into_iter().for_each(std::mem::forget);
}
