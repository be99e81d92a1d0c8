//! Free ports of the loopback address.

use std::net::TcpListener;

use anyhow::{Context as _, Result};

/// Where to look: below the range from which systems take ports for outgoing connections, so that none of those takes
/// a port between our finding it free and its server's start.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// The ports that a port-forward to any pod reaches: each leads to the same port of this machine.
pub const FORWARDED: std::ops::Range<u16> = 32_000..32_256;

/// Returns a port on which nothing listens and that a port-forward to any pod reaches.
pub fn forwarded() -> Result<u16> {
    let size = u128::from(FORWARDED.end - FORWARDED.start);
    (0..1000)
        .find_map(|_| {
            let offset = u16::try_from(uuid::Uuid::new_v4().as_u128() % size).ok()?;
            let port = FORWARDED.start + offset;
            TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
        })
        .context("there are no free ports that pods forward to")
}

/// Returns `N` ports on which nothing listens, different from each other.
///
/// Another process may still be faster; [`super::ControlPlane::start`] then tries again with others.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    let size = u128::from(RANGE.end - RANGE.start);
    // Held together, so that they differ.
    let mut held = Vec::new();
    for _ in 0..1000 {
        if held.len() == N {
            break;
        }
        let offset = u16::try_from(uuid::Uuid::new_v4().as_u128() % size)?;
        held.extend(TcpListener::bind(("127.0.0.1", RANGE.start + offset)));
    }
    let ports: Vec<u16> = held
        .iter()
        .map(|held| Ok(held.local_addr()?.port()))
        .collect::<Result<_>>()?;
    ports
        .try_into()
        .ok()
        .context("there are no free ports on 127.0.0.1")
}
