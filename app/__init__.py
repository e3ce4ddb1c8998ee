"""Your application. No update of the template touches this folder, and all in it may be deleted."""
