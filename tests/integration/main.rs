//! The operator as its users meet it: the real binary, under the permissions of its Helm chart, against a real API server,
//! with real EST clients. Needs what `hack/setup.sh` installs; `harness` says how to speed up a run.

mod audit;
mod authority;
mod crds;
mod device;
mod est;
mod est_front;
mod harness;
mod metrics;
mod outage;
mod plugin;
mod replicas;
mod sidecar;
