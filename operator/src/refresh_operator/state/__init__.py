"""What was observed of a refresh and the objects that belong to it, parsed once; pure."""
