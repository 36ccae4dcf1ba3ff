"""Access to Kubernetes: client, watches, store of watched objects, work queue, leader election."""
