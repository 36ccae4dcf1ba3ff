"""What a run is to do, as values: the request, the plan made from it, the results of its steps."""
