"""A Kubernetes cluster for demo and tests on any machine: kind, an existing cluster, or upstream's programs run directly."""
