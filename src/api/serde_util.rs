//! Deserialisers for what older clients send: the Go programs wrote `null` for every empty list and map.

use serde::{Deserialize, Deserializer};

/// Reads a value, taking `null` for the type's default.
pub fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
