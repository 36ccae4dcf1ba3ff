"""The operator's part of the status: conditions, events, history; pure."""
