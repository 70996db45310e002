"""Language models: recipe, training task, evaluation, sampling, n-gram baseline, model summary.

``task`` makes a run, ``loading`` opens it; ``huggingface`` exchanges it. Not ocr, nor anything above.
"""
