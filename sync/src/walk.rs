//! Long walks over the ledger. They read from the disk and take seconds in a large folder: who waits for the thread that they
//! run on, a question for the status among others, is served by another one meanwhile.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Walks without keeping anybody waiting but who asked for it.
pub(crate) fn undisturbed<T>(walk: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(walk),
        // There is no other thread.
        Ok(_) | Err(_) => walk(),
    }
}
