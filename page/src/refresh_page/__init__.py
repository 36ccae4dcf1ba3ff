"""Read-only web page that shows whether dashboards are fresh, and why not."""
