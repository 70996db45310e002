"""Attention of encoders through fewer keys: learned projections (Linformer) or landmarks (Nystromformer).
May import the root of ``attention``; no other family.
"""
