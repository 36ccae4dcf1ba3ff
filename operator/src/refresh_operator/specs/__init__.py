"""The objects that should exist, and where an existing one differs; pure."""
