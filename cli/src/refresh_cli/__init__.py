"""The kubectl plugin `kubectl dashboardrefresh`: runs, cancels, suspends and inspects refreshes by their annotations, spec and status."""
