"""Synthetic pages with the shape, order and text of their lines: what the line detector learns from."""
