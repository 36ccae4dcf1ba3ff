"""The run log: the tables in the warehouse in which every run is recorded, and what later attempts read back."""
