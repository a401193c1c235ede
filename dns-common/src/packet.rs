//! Bounded access to packet bytes: the only place that dereferences packet pointers.
//!
//! The verifier accepts a packet access if it saw, on every path to it, a comparison of that very
//! pointer plus the size with the end of the packet. The compiler likes to merge pointer
//! arithmetic into forms that start with a negative offset, or to compare one pointer and use another:
//! [`opaque`] hides an offset's origin from it, so that there is one addition, and one
//! comparison of its result.

use crate::limits::PACKET_BYTES_MAX;

/// A packet in memory.
#[derive(Clone, Copy)]
pub struct Packet {
    start: *mut u8,
    end: *mut u8,
}

/// Integers that are read from and written to packets, in the machine's (little-endian) order.
///
/// # Safety
/// Every bit pattern is a value, and there is no padding.
pub unsafe trait Scalar: Copy {}
// SAFETY: integers.
unsafe impl Scalar for u8 {}
// SAFETY: integers.
unsafe impl Scalar for u16 {}
// SAFETY: integers.
unsafe impl Scalar for u32 {}
// SAFETY: integers.
unsafe impl Scalar for u64 {}

impl Packet {
    /// A packet from `start` up to, but not including, `end`.
    ///
    /// # Safety
    /// `start..end` is readable and writable while this value or a copy of it is used, and nothing
    /// else holds a reference into it.
    #[inline(always)]
    pub const unsafe fn new(start: *mut u8, end: *mut u8) -> Self {
        Packet { start, end }
    }

    /// Length in bytes.
    #[inline(always)]
    pub fn len(self) -> usize {
        // Opaque, or the difference would be taken of the pointers' lower halves where only
        // those are used ("32-bit pointer arithmetic prohibited").
        opaque(self.end as usize - self.start as usize)
    }

    /// Whether there are no bytes.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.end as usize <= self.start as usize
    }

    /// A pointer to `offset` if `size` bytes from there on lie within the packet.
    #[inline(always)]
    fn pointer(self, offset: usize, size: usize) -> Option<*mut u8> {
        let offset = opaque(offset);
        if offset > PACKET_BYTES_MAX {
            return None;
        }
        let pointer = self.start.wrapping_add(offset);
        if pointer.wrapping_add(size) > self.end {
            return None;
        }
        Some(pointer)
    }

    /// The first `N` bytes.
    #[inline(always)]
    pub fn head<const N: usize>(self) -> Option<Window<N>> {
        if self.start.wrapping_add(N) > self.end {
            return None;
        }
        Some(Window(self.start))
    }

    /// `N` bytes from `offset` on: one comparison for all of them.
    #[inline(always)]
    pub fn window<const N: usize>(self, offset: usize) -> Option<Window<N>> {
        Some(Window(self.pointer(offset, N)?))
    }

    /// What follows `offset`.
    #[inline(always)]
    pub fn skip(self, offset: usize) -> Option<Self> {
        let start = self.pointer(offset, 0)?;
        Some(Packet {
            start,
            end: self.end,
        })
    }

    /// Word `index` of eight bytes. The index must be one that the verifier knows: a constant, or the count of a
    /// loop.
    #[inline(always)]
    pub fn word(self, index: usize) -> Option<u64> {
        let pointer = self.start.wrapping_add(index * 8);
        if pointer.wrapping_add(8) > self.end {
            return None;
        }
        // SAFETY: in bounds, readable by the contract of `new`.
        Some(unsafe { pointer.cast::<u64>().read_unaligned() })
    }

    /// The value at `offset`.
    #[inline(always)]
    pub fn read<T: Scalar>(self, offset: usize) -> Option<T> {
        let pointer = self.pointer(offset, size_of::<T>())?;
        // SAFETY: in bounds by `pointer`, readable by the contract of `new`; T takes any bytes.
        Some(unsafe { pointer.cast::<T>().read_unaligned() })
    }

    /// Writes a value at `offset`; `None`, and nothing written, if it would not fit.
    #[inline(always)]
    pub fn write<T: Scalar>(self, offset: usize, value: T) -> Option<()> {
        let pointer = self.pointer(offset, size_of::<T>())?;
        // SAFETY: in bounds by `pointer`, writable by the contract of `new`.
        unsafe { pointer.cast::<T>().write_unaligned(value) };
        Some(())
    }
}

/// `N` bytes within a packet. Places in it are constants, checked when the program is compiled.
#[derive(Clone, Copy)]
pub struct Window<const N: usize>(*mut u8);

impl<const N: usize> Window<N> {
    /// The value at `AT`.
    #[inline(always)]
    pub fn read<T: Scalar, const AT: usize>(self) -> T {
        const { assert!(AT + size_of::<T>() <= N) };
        // SAFETY: within the N bytes that were in bounds when the window was made; T takes any bytes.
        unsafe { self.0.wrapping_add(AT).cast::<T>().read_unaligned() }
    }

    /// Writes a value at `AT`.
    #[inline(always)]
    pub fn write<T: Scalar, const AT: usize>(self, value: T) {
        const { assert!(AT + size_of::<T>() <= N) };
        // SAFETY: as in `read`, and packets are writable by the contract of `Packet::new`.
        unsafe { self.0.wrapping_add(AT).cast::<T>().write_unaligned(value) };
    }
}

/// The same value, of which the compiler knows nothing.
#[inline(always)]
pub fn opaque(value: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // One move onto itself: without any instruction, LLVM would emit two line entries for the
        // same place, and the kernel refuses such BTF ("Invalid line_info").
        // SAFETY: touches nothing but the value.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// The same memory, of whose contents the compiler knows nothing: what was stored there is loaded again, and so
/// is unknown to the verifier where it is map memory.
#[inline(always)]
pub fn forget<T>(memory: &mut T) -> &mut T {
    #[cfg(target_arch = "bpf")]
    {
        let mut pointer = core::ptr::from_mut(memory);
        // SAFETY: one move onto itself, as in `opaque`. The memory is not touched, although the compiler has to
        // assume that it is.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) pointer, options(preserves_flags, nostack));
            &mut *pointer
        }
    }
    #[cfg(not(target_arch = "bpf"))]
    memory
}

/// The same value, of which the verifier knows nothing: it comes back from map memory.
///
/// After a loop the verifier knows the exact count for each way out, and would verify the rest of the
/// program once for each of them.
#[inline(always)]
pub fn launder(laundry: &mut u64, value: u64) -> u64 {
    let laundry = core::ptr::from_mut(laundry);
    // SAFETY: a reference is valid for a volatile write and read.
    unsafe {
        laundry.write_volatile(value);
        laundry.read_volatile()
    }
}
