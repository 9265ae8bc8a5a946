//! Locks that outlive a panic of who held them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; what a panicking holder has left is taken as it is.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
