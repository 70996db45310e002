"""Reformer's attention over keys that share a hash bucket, its kernel, and a cache that keeps the buckets of
the keys. May import the root of ``attention``; no other family.
"""
