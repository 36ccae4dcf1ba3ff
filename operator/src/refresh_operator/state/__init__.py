"""The observed state of one refresh: objects of the API server, parsed; pure."""
