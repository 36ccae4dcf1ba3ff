"""One attempt of a run: the checks before it, its steps in order, and its end."""
