//! What serde is told of single fields. The Go programs of older clients wrote `null` for every empty list and map.

use serde::{Deserialize, Deserializer};

/// Reads a value, taking `null` for the type's default.
pub fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Returns whether a number need not be written.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
pub fn is_zero(number: &u64) -> bool {
    *number == 0
}
