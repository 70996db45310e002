"""The workflow of the line detector: recipe, training task, evaluation, export to ONNX."""
