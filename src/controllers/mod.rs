//! Kubernetes in, Kubernetes out: each controller observes, decides (a pure function), and acts with as few writes as it
//! can.

mod authority;
mod device;
mod est_server;
mod group;
mod run;
mod wake;

pub use device::Memory as DeviceMemory;
pub use est_server::EstServer;
pub use group::Memory as GroupMemory;
pub use run::{Context, Controllers};
pub use wake::Wake;
