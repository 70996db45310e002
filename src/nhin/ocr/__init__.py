"""The workflow of the reader: recipe, training task, validation, evaluation, export to ONNX with a model
card. May import reading, training, decoding, metrics, data, models and below; not lm.
"""
