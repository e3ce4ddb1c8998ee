"""What runs in the processes of the singletons, and how it is called."""
