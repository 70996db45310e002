"""Language models: recipe, training task, evaluation, sampling, counted n-grams, model summary.

``task`` makes a run, ``loading`` opens it; ``huggingface`` exchanges it. Not ocr, nor anything above.
"""
