"""Ray: connect, find and call actors, the table of singletons, bootstrap, status."""
