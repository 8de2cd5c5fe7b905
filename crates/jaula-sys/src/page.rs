//! A page that a process and its clones see.

use crate::error::SysError;
use std::ptr;

/// What may lie in a [`Page`].
///
/// # Safety
/// All zeroes are a value of it, and it is changed through atomics only.
pub(crate) unsafe trait Shared {}

/// Memory that a process and those it clones share, whatever else they have copies of.
pub(crate) struct Page<T: Shared>(*mut T);

impl<T: Shared> Page<T> {
    pub(crate) fn new() -> Result<Self, SysError> {
        let (prot, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping anywhere.
        let page = unsafe { libc::mmap(ptr::null_mut(), size_of::<T>(), prot, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(SysError::last("mmap", "a page to report by"));
        }
        Ok(Self(page.cast()))
    }

    pub(crate) fn report(&self) -> &T {
        // SAFETY: mapped as long as self, zeroed by the kernel, which is a value of it, and changed through atomics only.
        unsafe { &*self.0 }
    }
}

impl<T: Shared> Drop for Page<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size.
        unsafe { libc::munmap(self.0.cast(), size_of::<T>()) };
    }
}
