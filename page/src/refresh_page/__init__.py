"""A read-only web page: are the dashboards all right, and if not, where to look."""
