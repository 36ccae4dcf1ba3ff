"""Stand-ins for what a user brings: source data, a warehouse, a dashboard API."""
