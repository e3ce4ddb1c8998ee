"""The working memory: three actors, what they store with, and `MwManager` in front of them."""
