"""Attention mechanisms behind one contract; see ``base`` for the contract and ``registry`` for the table."""
