"""No application: a process that has this folder on its path finds nothing in `app`."""
