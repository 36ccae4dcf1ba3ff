"""Keeps CronJobs equal to the DashboardRefreshes they come from."""
