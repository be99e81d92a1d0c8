//! The restore engine: open -> plan -> transform -> apply -> report.
mod derived;
mod object;
mod plan;
mod select;
#[cfg(test)]
mod testing;
mod transform;
mod waves;
