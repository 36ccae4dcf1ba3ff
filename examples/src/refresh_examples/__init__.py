"""Stand-ins for what users bring: source data, a warehouse, a dashboard API."""
