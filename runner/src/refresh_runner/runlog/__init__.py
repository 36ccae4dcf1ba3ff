"""The run log: the tables in the warehouse that record every run, and what later attempts read from them."""
