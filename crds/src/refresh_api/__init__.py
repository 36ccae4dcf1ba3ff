"""The contract of a DashboardRefresh: its models, and the CRD made from them."""
