"""The HTTP API over the working memory."""
