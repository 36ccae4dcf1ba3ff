"""Reconcile one RefreshPreview: a Job that compares a change of the dbt project with what is live, and reports it itself."""
