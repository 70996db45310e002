"""The command that lists what attention is made of."""

import sys
from json import dumps

from nhin.errors import UsageError


def list(*names: str, family: str | None = None, able: str | None = None, json: bool = False) -> int:
    """List attention mechanisms, positions, head sharing, states and presets; or tell all about some.

    Args:
        names: What to tell all about: window, rotary-yarn, mistral. Everything in short when there is none.
        family: Mechanisms of one family only: exact, scores, reach, bias, linear, low-rank, sparse.
        able: Mechanisms with these abilities only, joined by commas: causal,decode.
        json: Write one JSON array, for programs.
    """
    if names and (family or able):
        raise UsageError("give names, or --family and --able to choose by, not both")
    from nhin.viz.catalogue import as_data, catalogue, chosen, entry
    from nhin.viz.listing import overview, single

    entries = [entry(name) for name in names] or chosen(catalogue(), family, able)
    if json:
        sys.stdout.write(dumps([as_data(one) for one in entries], ensure_ascii=False, indent=1) + "\n")
    elif names:
        sys.stdout.write("\n\n".join(single(one) for one in entries))
    elif entries:
        sys.stdout.write(overview(entries))
    else:
        sys.stderr.write("nhin: no mechanism has all of that\n")
    return 0
