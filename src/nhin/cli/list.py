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
    from nhin.viz.catalogue import entry_to_dict, filter_entries, find_entry, list_entries
    from nhin.viz.listing import format_entry, format_overview

    entries = [find_entry(name) for name in names] or filter_entries(list_entries(), family, able)
    if json:
        sys.stdout.write(dumps([entry_to_dict(one) for one in entries], ensure_ascii=False, indent=1) + "\n")
    elif names:
        sys.stdout.write("\n\n".join(format_entry(one) for one in entries))
    elif entries:
        sys.stdout.write(format_overview(entries))
    else:
        sys.stderr.write("nhin: no mechanism has all of that\n")
    return 0
