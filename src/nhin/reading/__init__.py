"""Read pictures without torch: detect lines, crop and order them, recognize each with ONNX Runtime, write
the result. May import decoding, image, text, config, files and errors; neither data, models nor training.
"""
