//! Locks of data that a panic cannot leave half-written.

use std::sync::{self, Mutex, MutexGuard};

/// Locks a mutex, whether or not a thread has panicked while it held the lock. A panic ends one
/// task only; the data behind the operator's locks is valid between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(sync::PoisonError::into_inner)
}
