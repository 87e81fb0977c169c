//! By which names a mailbox's user may log in.
