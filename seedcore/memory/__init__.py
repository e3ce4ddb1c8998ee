"""The working memory: `MwManager`, and how a process reads without asking an actor."""
