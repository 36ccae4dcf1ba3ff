"""The door to Kubernetes: client, watches, store, work queue, leader election."""
