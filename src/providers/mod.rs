//! Ports to what Ark does not own, and what stands behind them: object stores today, snapshotters and item actions
//! later. Nothing above [`registry`](self) knows whether a provider is built in.

pub mod store;
