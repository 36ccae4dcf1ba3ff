"""The contract of a DashboardRefresh: its spec, its status and the run request of a pod. Imports pydantic only."""
