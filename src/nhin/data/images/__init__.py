"""Labeled pictures of words, synthetic or real: rendered in chunks by workers, cached, and batched by width.
In order of use: text_generator, synthetic or datasets (vintext), chunk_cache, workers, bucket_sampler.
"""
