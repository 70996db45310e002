"""Softmax over the nearest keys (window, dilated) and, for some, the first ones (sinks, longformer).

A band is computed in one of four ways, chosen in ``base``:
    one query                           its visible keys are sliced out (``base``)
    many queries, on a CPU, all finite  ``row_blocks``: slices that fit the cache, those that lie alike in one
                                        call of PyTorch's kernel, with their own backward
    anything else                       ``chunked``: queries folded into the batch, for PyTorch's kernel
    the reference                       the dense mask (``softmax_base``)
``ring_cache`` decodes. May import the root of ``attention``; no other family.
"""
