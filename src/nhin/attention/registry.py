"""The table of mechanisms. To add one: write its file, add its line here, run the tests."""

from inspect import Parameter, signature

from nhin.attention.alignment.additive import AdditiveAttention
from nhin.attention.alignment.concat import ConcatAttention
from nhin.attention.alignment.dot import DotAttention
from nhin.attention.alignment.general import GeneralAttention
from nhin.attention.alignment.global_attention import GlobalAttention
from nhin.attention.alignment.local_monotonic import LocalMonotonic
from nhin.attention.alignment.local_predictive import LocalPredictive
from nhin.attention.alignment.location import LocationAttention
from nhin.attention.band.dilated import Dilated
from nhin.attention.band.longformer import Longformer
from nhin.attention.band.ring_cache import SlidingWindowCache
from nhin.attention.band.sinks import Sinks
from nhin.attention.band.window import SlidingWindow
from nhin.attention.base import Mechanism
from nhin.attention.bias.alibi import ALiBi
from nhin.attention.bias.t5 import T5
from nhin.attention.exact.flash import Flash
from nhin.attention.exact.naive import Naive
from nhin.attention.exact.softmax import Softmax
from nhin.attention.kv_cache import KVCache
from nhin.attention.linear.linear import Linear
from nhin.attention.linear.linear_exp import LinearExp
from nhin.attention.linear.linear_relu import LinearReLU
from nhin.attention.linear.performer import Performer
from nhin.attention.linear.recurrent_state import RecurrentState
from nhin.attention.low_rank.linformer import Linformer
from nhin.attention.low_rank.nystromformer import Nystromformer
from nhin.attention.lsh.cache import LSHCache
from nhin.attention.lsh.lsh import LSH
from nhin.attention.sparse.bigbird import BigBird
from nhin.attention.sparse.block_local import BlockLocal
from nhin.attention.sparse.block_sparse import BlockSparse
from nhin.attention.sparse.fixed import Fixed
from nhin.attention.sparse.interleaved import Interleaved
from nhin.attention.sparse.strided import Strided
from nhin.errors import UnknownName

MECHANISMS: dict[str, type[Mechanism]] = {
    "naive": Naive,
    "softmax": Softmax,
    "flash": Flash,
    "additive": AdditiveAttention,
    "dot": DotAttention,
    "general": GeneralAttention,
    "concat": ConcatAttention,
    "location": LocationAttention,
    "global": GlobalAttention,
    "local-m": LocalMonotonic,
    "local-p": LocalPredictive,
    "window": SlidingWindow,
    "dilated": Dilated,
    "sinks": Sinks,
    "longformer": Longformer,
    "strided": Strided,
    "fixed": Fixed,
    "interleaved": Interleaved,
    "block-local": BlockLocal,
    "block-sparse": BlockSparse,
    "bigbird": BigBird,
    "lsh": LSH,
    "alibi": ALiBi,
    "t5": T5,
    "linear": Linear,
    "linear-relu": LinearReLU,
    "linear-exp": LinearExp,
    "performer": Performer,
    "linformer": Linformer,
    "nystromformer": Nystromformer,
}

CACHES = {"everything": KVCache, "hashed": LSHCache, "rolling": SlidingWindowCache, "sums": RecurrentState}

_OPEN_ENDED = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def build(
    name: str, *, heads: int | None = None, head_dim: int | None = None, **settings: object
) -> Mechanism:
    """Build a mechanism by name.

    Args:
        name: A key of ``MECHANISMS``.
        heads: Query heads; passed on only to mechanisms that ask for it.
        head_dim: Width of one head; passed on only to mechanisms that ask for it.
        **settings: The mechanism's own settings.

    Returns:
        A fresh mechanism.

    Raises:
        UnknownName: The name is not in the table, or the mechanism has no such setting.
    """
    if name not in MECHANISMS:
        raise UnknownName("mechanism", name, MECHANISMS)
    make = MECHANISMS[name]
    # nn.Module itself takes *args and **kwargs only to refuse them later, so they do not count.
    known = [key for key, p in signature(make).parameters.items() if p.kind not in _OPEN_ENDED]
    for setting in settings:
        if setting not in known:
            raise UnknownName(f"setting of {name}", setting, known)
    sizes = {"heads": heads, "head_dim": head_dim}
    offered = {key: size for key, size in sizes.items() if size is not None and key in known}
    return make(**settings, **offered)
