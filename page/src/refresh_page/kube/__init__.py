"""What the page reads from Kubernetes."""
