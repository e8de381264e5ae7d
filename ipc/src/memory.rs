//! Memory shared with another process: sealed memfds, mapping, offsets; and the private slots of channel ends.
//!
//! What a peer wrote is an allegation: this face hands out copies and atomics, never a `&[u8]` into memory that
//! somebody else may change. Bytes are copied while the peer may write them; such a copy may be torn, and whoever uses
//! it must not care (the ring's indices say which bytes the peer has promised not to touch; a peer that breaks its
//! promise garbles its own data only).
//!
//! A memfd is sealed against shrinking before it is mapped: a peer that could shrink it would kill us by SIGBUS.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use nix::unistd::{Pid, ftruncate, getpid};

use crate::error::MemoryError;
use crate::turn;

/// Granularity of windows and of giving memory back, in bytes.
pub const PAGE_BYTES: usize = 4096;

/// Seals of shared memory: its size is final, and so are the seals. Not sealed against writing.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

/// A type that may lie in shared memory.
///
/// # Safety
///
/// Every bit pattern is valid, it has no padding that matters and no destructor, and every field is an atomic: other
/// processes change it at any time.
pub(crate) unsafe trait Shared: Sync {}

/// Makes a sealed memfd of its final size. It costs no memory until it is touched.
pub fn create_sealed(length: usize) -> Result<OwnedFd, MemoryError> {
    create_sealed_named("isthmus-channel", length)
}

/// The same, with a name that `/proc/PID/maps` shows.
pub fn create_sealed_named(name: &str, length: usize) -> Result<OwnedFd, MemoryError> {
    let kernel = |what| move |error: nix::Error| MemoryError::Kernel { what, error: error.into() };
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).map_err(kernel("memfd_create"))?;
    let size = libc::off_t::try_from(length).unwrap_or(libc::off_t::MAX);
    ftruncate(&fd, size).map_err(kernel("size a memfd"))?;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(SEALS)).map_err(kernel("seal a memfd"))?;
    Ok(fd)
}

/// A mapping, shared with other processes.
#[derive(Debug)]
pub struct Memory {
    base: NonNull<u8>,
    length: usize,
    /// A second mapping of its first bytes.
    near: Option<Near>,
}

// SAFETY: The mapping belongs to the process, not to a thread, and stands until drop.
unsafe impl Send for Memory {}
// SAFETY: All access through `&self` is by atomics, or by copies that may be torn as the module says.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps a memfd that somebody else made, if it is sealed and has exactly `length` bytes.
    pub fn map(fd: BorrowedFd<'_>, length: usize) -> Result<Self, MemoryError> {
        let kernel = |what| move |error: nix::Error| MemoryError::Kernel { what, error: error.into() };
        let found = fcntl(fd, FcntlArg::F_GET_SEALS).map_err(kernel("read the seals of a memfd"))?;
        if found & SEALS.bits() != SEALS.bits() {
            return Err(MemoryError::Unsealed { found, wanted: SEALS.bits() });
        }
        // Read after the seals: from here on it cannot change.
        let size = nix::sys::stat::fstat(fd).map_err(kernel("stat a memfd"))?.st_size;
        let wanted = length as u64;
        let found = u64::try_from(size).unwrap_or(0);
        let mapped = NonZeroUsize::new(length).filter(|_| found == wanted);
        let Some(mapped) = mapped else { return Err(MemoryError::Size { found, wanted }) };
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A new mapping at an address that the kernel chooses overlaps nothing of ours.
        let base = unsafe { mmap(None, mapped, protection, MapFlags::MAP_SHARED, fd, 0) };
        Ok(Self { base: base.map_err(kernel("map a memfd"))?.cast(), length, near: None })
    }

    /// As [`map`](Self::map), for memory of which mostly the first [`NEAR_BYTES`] are used: those are mapped a second time,
    /// beside those of other such memory, and used there. A page table then serves 170 of them; in the large mapping each
    /// would need one of its own, a page in each process.
    pub(crate) fn map_near(fd: BorrowedFd<'_>, length: usize) -> Result<Self, MemoryError> {
        let mut memory = Self::map(fd, length)?;
        if length >= NEAR_BYTES {
            memory.near = Some(Near::map(fd)?);
        }
        Ok(memory)
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none; never so for a mapping.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Panics
    ///
    /// If they do not lie inside: an error of this process, since offsets are never taken from shared memory unchecked.
    #[inline(always)]
    pub fn copy_in(&self, offset: usize, bytes: &[u8]) {
        let to = self.range(offset, bytes.len());
        // SAFETY: `range` checked that the target lies in the mapping; `bytes` is private memory, so they do not
        // overlap.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    /// Copies from `offset` into `into`.
    ///
    /// # Panics
    ///
    /// As [`copy_in`](Self::copy_in).
    #[inline(always)]
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let from = self.range(offset, into.len());
        // SAFETY: `range` checked that the source lies in the mapping; `into` is private memory, so they do not
        // overlap.
        unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
    }

    /// Asks the CPU for the cache line at `offset`, to be read soon.
    ///
    /// # Panics
    ///
    /// As [`copy_in`](Self::copy_in).
    #[inline]
    pub fn prefetch(&self, offset: usize) {
        let line = self.range(offset, 1);
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = line;
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: A hint, which changes nothing and faults nowhere; every x86-64 has SSE.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
        }
    }

    /// Asks the CPU for the cache line at `offset`, to be written soon: it is taken from the other CPUs.
    ///
    /// # Panics
    ///
    /// As [`copy_in`](Self::copy_in).
    #[inline]
    pub fn prefetch_to_write(&self, offset: usize) {
        let line = self.range(offset, 1);
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = line;
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: A hint, which changes nothing and faults nowhere; an x86-64 without it takes it for no operation. In
        // assembly, since the compiler makes a prefetch to read of it unless it may suppose that all CPUs have it.
        unsafe {
            std::arch::asm!("prefetchw [{line}]", line = in(reg) line, options(nostack, preserves_flags));
        }
    }

    /// Gives the memory of `range` back to the system, for all who map it; it reads as zeros from then on.
    ///
    /// # Panics
    ///
    /// If the range is not of whole pages inside: an error of this process.
    pub fn punch(&self, range: Range<usize>) -> io::Result<()> {
        let length = range.len();
        assert!(range.start.is_multiple_of(PAGE_BYTES) && length.is_multiple_of(PAGE_BYTES), "whole pages only");
        let start = NonNull::new(self.range(range.start, length).cast::<c_void>()).unwrap_or(NonNull::dangling());
        // SAFETY: The range lies in our mapping. No `&[u8]` into it exists; zeros are valid for atomics and bytes.
        unsafe { madvise(start, length, MmapAdvise::MADV_REMOVE) }.map_err(io::Error::from)
    }

    #[inline(always)]
    fn range(&self, offset: usize, length: usize) -> *mut u8 {
        assert!(offset <= self.length && length <= self.length - offset, "offset outside of shared memory");
        let base = match &self.near {
            Some(near) if offset + length <= NEAR_BYTES => near.base,
            Some(_) | None => self.base,
        };
        // SAFETY: `offset` is at most the mapping's length, just checked; or with `length` at most that of the near one.
        unsafe { base.as_ptr().add(offset) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: Mapped by `map` with this length; every view holds an `Arc` of the mapping.
        if let Err(error) = unsafe { munmap(self.base.cast(), self.length) } {
            log::error!("unmap {} bytes: {error}", self.length);
        }
    }
}

/// Bytes at the start of a memory that [`Memory::map_near`] maps twice.
pub(crate) const NEAR_BYTES: usize = 3 * PAGE_BYTES;

/// Places for near mappings are reserved so many at a time: what the entries of one page table cover, 2 MiB.
const NEARS_PER_AREA: usize = (512 * PAGE_BYTES) / NEAR_BYTES;

/// The first bytes of a memory, mapped beside those of others.
#[derive(Debug)]
struct Near {
    base: NonNull<u8>,
}

/// Reserved places that nothing is mapped at, by address. A forked child has its own copies of the places and of this.
static PLACES: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl Near {
    fn map(fd: BorrowedFd<'_>) -> Result<Self, MemoryError> {
        const LENGTH: NonZeroUsize = NonZeroUsize::new(NEAR_BYTES).unwrap();
        let place = take_place()?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: Replaces a place of ours that was just taken from `PLACES`: nobody else uses it, and nothing is there.
        let base = unsafe { mmap(Some(place), LENGTH, protection, MapFlags::MAP_SHARED | MapFlags::MAP_FIXED, fd, 0) };
        match base {
            Ok(base) => Ok(Self { base: base.cast() }),
            Err(error) => {
                give_place_back(place);
                Err(MemoryError::Kernel { what: "map a memfd's first pages", error: error.into() })
            }
        }
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        const LENGTH: NonZeroUsize = NonZeroUsize::new(NEAR_BYTES).unwrap();
        let place = NonZeroUsize::from(self.base.addr());
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE | MapFlags::MAP_FIXED;
        // SAFETY: Replaces what `map` mapped there; every view holds an `Arc` of the memory that this is a part of.
        match unsafe { mmap_anonymous(Some(place), LENGTH, ProtFlags::PROT_NONE, flags) } {
            Ok(_) => give_place_back(place),
            // The place is lost, and what lies there stays mapped.
            Err(error) => log::error!("unmap {NEAR_BYTES} bytes: {error}"),
        }
    }
}

fn take_place() -> Result<NonZeroUsize, MemoryError> {
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(place) = places.pop().and_then(NonZeroUsize::new) {
        return Ok(place);
    }
    const LENGTH: NonZeroUsize = NonZeroUsize::new(NEARS_PER_AREA * NEAR_BYTES).unwrap();
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: A new mapping at an address that the kernel chooses overlaps nothing of ours.
    let area = unsafe { mmap_anonymous(None, LENGTH, ProtFlags::PROT_NONE, flags) };
    let area = area.map_err(|error| MemoryError::Kernel { what: "reserve addresses", error: error.into() })?;
    let first = NonZeroUsize::from(area.addr());
    // Lowest addresses last: they are taken first.
    places.extend((1..NEARS_PER_AREA).rev().map(|n| first.get() + n * NEAR_BYTES));
    Ok(first)
}

fn give_place_back(place: NonZeroUsize) {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner).push(place.get());
}

/// A structure of atomics at a fixed place in shared memory.
#[derive(Debug)]
pub(crate) struct View<T> {
    at: NonNull<T>,
    memory: Arc<Memory>,
}

// SAFETY: A `View` is a shared reference to a `T`, which is `Sync` by `Shared`, into memory that it keeps mapped.
unsafe impl<T: Shared> Send for View<T> {}
// SAFETY: As above.
unsafe impl<T: Shared> Sync for View<T> {}

impl<T: Shared> View<T> {
    /// The structure at `offset`.
    ///
    /// # Panics
    ///
    /// If it does not lie inside, or not aligned: an error of this process.
    pub fn new(memory: Arc<Memory>, offset: usize) -> Self {
        let at = memory.range(offset, size_of::<T>()).cast::<T>();
        assert!(at.is_aligned(), "unaligned structure in shared memory");
        Self { at: NonNull::new(at).unwrap_or(NonNull::dangling()), memory }
    }

    /// The mapping that it lies in.
    #[inline]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl<T: Shared> Deref for View<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `new` checked place and alignment; `memory` keeps it mapped; `Shared` says that any bits are a `T`
        // and that all change goes through atomics.
        unsafe { self.at.as_ref() }
    }
}

/// Size of a slot in bytes: two cache lines, which the adjacent-line prefetcher fetches as a pair.
const SLOT_BYTES: usize = 128;

/// What of it its user has; the rest is for [`Sharers`].
pub(crate) const SLOT_USER_BYTES: usize = SLOT_BYTES - size_of::<Sharers>();

/// Slots are mapped so many at a time; a page of them is touched only when used.
const SLOTS_PER_AREA: usize = 1024;
const AREA_BYTES: usize = SLOTS_PER_AREA * SLOT_BYTES;

/// Memory that slots lie in. In a memfd, which forked children have as they have the mapping, and which goes on in a
/// program that their process executes.
#[derive(Debug)]
struct Area {
    memory: Arc<Memory>,
    file: OwnedFd,
    /// What the kernel knows the memfd by: no other one on this machine has it.
    number: u64,
}

impl Area {
    fn new() -> Result<Arc<Self>, MemoryError> {
        Self::of(create_sealed_named("isthmus-ends", AREA_BYTES)?)
    }

    fn of(file: OwnedFd) -> Result<Arc<Self>, MemoryError> {
        let memory = Arc::new(Memory::map(file.as_fd(), AREA_BYTES)?);
        let number = number_of(file.as_fd())?;
        Ok(Arc::new(Self { memory, file, number }))
    }
}

/// Its inode.
fn number_of(file: BorrowedFd<'_>) -> Result<u64, MemoryError> {
    let status = nix::sys::stat::fstat(file);
    status
        .map(|status| status.st_ino)
        .map_err(|error| MemoryError::Kernel { what: "stat a memfd", error: error.into() })
}

/// Areas that this process has from the program that it was before, and their numbers: several slots lie in one.
static TAKEN_OVER: Mutex<Vec<(u64, Weak<Area>)>> = Mutex::new(Vec::new());

fn take_over_area(file: OwnedFd) -> Result<Arc<Area>, MemoryError> {
    let number = number_of(file.as_fd())?;
    let mut known = TAKEN_OVER.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|(_, area)| area.strong_count() > 0);
    if let Some(area) = known.iter().find(|(of, _)| *of == number).and_then(|(_, area)| area.upgrade()) {
        return Ok(area);
    }
    let area = Area::of(file)?;
    known.push((number, Arc::downgrade(&area)));
    Ok(area)
}

/// Free slots of this process.
#[derive(Debug)]
struct Pool {
    /// Process that owns the free slots.
    owner: Option<Pid>,
    free: Vec<FreeSlot>,
}

#[derive(Debug)]
struct FreeSlot {
    area: Arc<Area>,
    offset: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { owner: None, free: Vec::new() });

/// The last word of a slot: who uses it beside one process.
#[derive(Debug)]
#[repr(C, align(8))]
struct Sharers {
    /// How many.
    others: AtomicU32,
    /// How many of them have not [adopted](Slot::adopt) it; and [`CLAIMED`].
    pending: AtomicU32,
}

/// One of those who share it has taken it for itself.
const CLAIMED: u32 = 1 << 31;

// SAFETY: Atomics only.
unsafe impl Shared for Sharers {}

/// Private memory of a channel's end that forked children of this process share: an idle end costs 128 bytes.
///
/// A child that is to use it is counted with [`share`](Self::share) before it is there, and takes it over with
/// [`adopt`](Self::adopt). One that dies without giving its share back is counted on until somebody
/// [forgets the dead](Self::forget_dead).
#[derive(Debug)]
pub(crate) struct Slot<T: Shared> {
    view: View<T>,
    sharers: View<Sharers>,
    area: Arc<Area>,
    offset: usize,
    /// The process that this copy of the slot counts for: another one, whose parent has forked for something else, has
    /// nothing to give back.
    holder: AtomicI32,
    /// This process has told the others that it uses it (`turn`).
    attends: AtomicBool,
    /// It has yet to do so, and is counted until then as one that has not come.
    is_to_attend: AtomicBool,
}

impl<T: Shared> Slot<T> {
    /// A zeroed slot.
    pub fn new() -> Result<Self, MemoryError> {
        const { assert!(size_of::<T>() <= SLOT_USER_BYTES) };
        let holder = getpid();
        let FreeSlot { area, offset } = take_free(holder)?;
        area.memory.copy_in(offset, &[0; SLOT_BYTES]);
        Ok(Self::at(area, offset, holder))
    }

    fn at(area: Arc<Area>, offset: usize, holder: Pid) -> Self {
        Self {
            view: View::new(area.memory.clone(), offset),
            sharers: View::new(area.memory.clone(), offset + SLOT_USER_BYTES),
            area,
            offset,
            holder: AtomicI32::new(holder.as_raw()),
            attends: AtomicBool::new(false),
            is_to_attend: AtomicBool::new(false),
        }
    }

    /// The slot at a place of an area that this process has from the program that it was before; [adopt](Self::adopt) it
    /// next.
    pub fn take_over(area: OwnedFd, offset: usize) -> Result<Self, MemoryError> {
        const { assert!(size_of::<T>() <= SLOT_USER_BYTES) };
        if !offset.is_multiple_of(SLOT_BYTES) || offset >= AREA_BYTES {
            return Err(MemoryError::NoSlot { offset });
        }
        Ok(Self::at(take_over_area(area)?, offset, getpid()))
    }

    /// What another program needs to [take it over](Self::take_over).
    pub fn parts(&self) -> (BorrowedFd<'_>, usize) {
        (self.area.file.as_fd(), self.offset)
    }

    /// Where it lies: the same in all processes that share it, and no other slot of any process lies there.
    pub fn place(&self) -> usize {
        // Numbers of memfds have 32 bits.
        self.area.number as usize * AREA_BYTES + self.offset
    }

    /// Another program, which this process is about to execute, goes on with this process's share.
    pub fn expect_successor(&self) {
        self.sharers.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// It was not executed.
    pub fn expect_no_successor(&self) {
        self.sharers.pending.fetch_sub(1, Ordering::Relaxed);
    }

    /// A child that is about to be forked will use it too. A child of vfork(2), which has this memory, may call it for
    /// another program: that this process attends it cannot say, and the next use of this process says it.
    pub fn share(&self) -> Result<(), Errno> {
        if getpid().as_raw() == self.holder.load(Ordering::Relaxed) {
            self.attend()?;
        } else if !self.attends.load(Ordering::Relaxed) && !self.is_to_attend.swap(true, Ordering::Relaxed) {
            self.sharers.pending.fetch_add(1, Ordering::Relaxed);
        }
        self.sharers.pending.fetch_add(1, Ordering::Relaxed);
        self.sharers.others.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The child did not come to be.
    pub fn take_share_back(&self) {
        self.sharers.pending.fetch_sub(1, Ordering::Relaxed);
        self.sharers.others.fetch_sub(1, Ordering::Relaxed);
    }

    /// Attends, if a child of vfork(2) has shared it in this process's name.
    pub fn attend_if_due(&self) {
        if self.is_to_attend.swap(false, Ordering::Relaxed) {
            self.adopt();
        }
    }

    /// This process is the child that was counted.
    pub fn adopt(&self) {
        self.holder.store(getpid().as_raw(), Ordering::Relaxed);
        match self.attend() {
            // Release: pairs with the Acquire of `forget_dead`; who sees this one adopted sees that it attends.
            Ok(()) => drop(self.sharers.pending.fetch_sub(1, Ordering::Release)),
            // It is counted on as if it had not come yet: the others never take themselves to be alone.
            Err(error) => log::error!("say that a channel's end is used: {error}"),
        }
    }

    fn attend(&self) -> Result<(), Errno> {
        turn::attend(self.place())?;
        self.attends.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether all others have died without giving their shares back; if so, they are counted no longer.
    pub fn forget_dead(&self) -> Result<bool, Errno> {
        // Acquire: as `adopt` says. Only who attends can share, so nobody comes in between.
        let all_came = self.sharers.pending.load(Ordering::Acquire) & !CLAIMED == 0;
        let alone = all_came && turn::is_alone(self.place())?;
        if alone {
            self.sharers.others.store(0, Ordering::Relaxed);
        }
        Ok(alone)
    }

    /// Takes it from those who share it; `false`: another process was faster.
    pub fn claim(&self) -> bool {
        // Relaxed: what lies in the slot has not changed since the fork, which ordered it.
        self.sharers.pending.fetch_or(CLAIMED, Ordering::Relaxed) & CLAIMED == 0
    }

    /// Whether one of those who share it has claimed it.
    pub fn is_claimed(&self) -> bool {
        self.sharers.pending.load(Ordering::Relaxed) & CLAIMED != 0
    }

    /// It is whole again: whoever shares it from now on may claim it.
    pub fn release_claim(&self) {
        self.sharers.pending.fetch_and(!CLAIMED, Ordering::Relaxed);
    }

    /// Whether other processes use it. Holds until the next [`share`](Self::share) of this process if it says `false`.
    pub fn is_shared(&self) -> bool {
        // Acquire: pairs with the AcqRel of `drop`; whoever is alone sees all that the others have done.
        self.sharers.others.load(Ordering::Acquire) > 0
    }
}

/// After a fork both processes would take the same free slot: a child starts with an area of its own.
fn take_free(owner: Pid) -> Result<FreeSlot, MemoryError> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if pool.owner != Some(owner) {
        pool.owner = Some(owner);
        pool.free.clear();
    }
    if let Some(free) = pool.free.pop() {
        return Ok(free);
    }
    let area = Area::new()?;
    // Lowest offsets last: they are taken first, so that used slots share pages.
    pool.free.extend((1..SLOTS_PER_AREA).rev().map(|n| FreeSlot { area: area.clone(), offset: n * SLOT_BYTES }));
    Ok(FreeSlot { area, offset: 0 })
}

impl<T: Shared> Deref for Slot<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.view
    }
}

/// A slot that several have, one step from what lies in it.
#[derive(Debug)]
pub(crate) struct SlotRef<T: Shared> {
    at: NonNull<T>,
    slot: Arc<Slot<T>>,
}

// SAFETY: A shared reference to a `T`, which is `Sync` by `Shared`, in a slot that it keeps.
unsafe impl<T: Shared> Send for SlotRef<T> {}
// SAFETY: As above.
unsafe impl<T: Shared> Sync for SlotRef<T> {}

impl<T: Shared> SlotRef<T> {
    pub fn new(slot: Slot<T>) -> Self {
        Self { at: slot.view.at, slot: Arc::new(slot) }
    }

    /// The slot itself, for what is done with it as a whole.
    pub fn slot(&self) -> &Slot<T> {
        &self.slot
    }
}

impl<T: Shared> Clone for SlotRef<T> {
    fn clone(&self) -> Self {
        Self { at: self.at, slot: self.slot.clone() }
    }
}

impl<T: Shared> Deref for SlotRef<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The view of the slot, which is kept, leads there.
        unsafe { self.at.as_ref() }
    }
}

impl<T: Shared> Drop for Slot<T> {
    fn drop(&mut self) {
        // A child that was not counted gives back nothing of its parent's, which may still use it.
        let holder = Pid::from_raw(self.holder.load(Ordering::Relaxed));
        if getpid() != holder {
            return;
        }
        if self.attends.load(Ordering::Relaxed)
            && let Err(error) = turn::leave(self.place())
        {
            log::error!("say that a channel's end is used no longer: {error}");
        }
        let one_less = |sharers: u32| sharers.checked_sub(1);
        // AcqRel: the last one's uses come after those of all others.
        if self.sharers.others.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok() {
            return;
        }
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.owner == Some(holder) {
            pool.free.push(FreeSlot { area: self.area.clone(), offset: self.offset });
        }
    }
}

#[cfg(test)]
mod tests;
