"""Reads schedules and selections of other tools, and writes them as a DashboardRefresh. Reads texts only: nothing of them is run."""
