"""Values of a run: the request, the plan made from it, and the results of its steps."""
