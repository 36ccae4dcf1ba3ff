"""What leaves a run while it goes on and at its end: status, log, terminal, notifications."""
