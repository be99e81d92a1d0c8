//! Ark: disaster recovery for Kubernetes.
