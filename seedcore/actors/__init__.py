"""What runs in the processes of the singletons."""
