"""The same tiny tasks trained with each attention mechanism at equal compute: quality against cost."""
