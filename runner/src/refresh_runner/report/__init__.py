"""The output of a run, during the run and at its end: status, log, terminal, notifications."""
