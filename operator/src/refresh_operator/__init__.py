"""Keeps the CronJob of each DashboardRefresh up to date."""
