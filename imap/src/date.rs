//! INTERNALDATE: a moment *and* the zone it was written in (RFC 3501 `date-time`).

use serde::{Deserialize, Serialize};

/// A moment and its zone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct InternalDate {
    seconds: i64,
    offset_minutes: i16,
}
