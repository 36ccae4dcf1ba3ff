"""The contract of a DashboardRefresh: what users write, what they read, what a pod is told. Knows pydantic only."""
