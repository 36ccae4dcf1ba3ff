"""What was observed of one refresh: the objects of the API server, parsed; pure."""
