"""Recipes and tasks that train a text recognizer, its evaluation, and its export to ONNX."""
