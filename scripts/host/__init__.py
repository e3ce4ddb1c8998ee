"""The verbs of the stack, on your machine."""
