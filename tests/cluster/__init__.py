"""A Kubernetes for demo and tests, on whatever this machine has: kind, an existing cluster, or upstream's programs themselves."""
