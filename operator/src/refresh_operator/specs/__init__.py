"""The objects that the operator creates, and how existing objects differ from them; pure."""
