//! Sets of UIDs (RFC 3501 `sequence-set` without `*`).

/// A set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UidSet;
