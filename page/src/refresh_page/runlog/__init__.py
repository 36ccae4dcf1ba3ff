"""What the page reads from the run log in the warehouse."""
