"""One attempt of a run: what is checked before it, its steps in order, its end."""
