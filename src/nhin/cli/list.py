"""``nhin list``: the catalogue of attention."""

import sys

from nhin.cli.output import print_error, to_json
from nhin.errors import UsageError


def list(*names: str, family: str | None = None, able: str | None = None, json: bool = False) -> int:
    """List attention mechanisms, positions, head sharing, caches and presets, or describe some.

    Args:
        names: Entries to describe: window, rotary-yarn, mistral. Without names, everything in short.
        family: Mechanisms of one family only: exact, scores, reach, bias, linear, low-rank, sparse.
        able: Mechanisms with these abilities only, joined by commas: causal,decode.
        json: Write one JSON array.
    """
    if names and (family or able):
        raise UsageError("give names, or --family and --able to choose by, not both")
    from nhin.viz.catalogue import entry_to_dict, filter_entries, find_entry, list_entries
    from nhin.viz.listing import format_entry, format_overview

    entries = [find_entry(name) for name in names] or filter_entries(list_entries(), family, able)
    if json:
        sys.stdout.write(to_json([entry_to_dict(entry) for entry in entries]))
    elif names:
        sys.stdout.write("\n\n".join(map(format_entry, entries)))
    elif entries:
        sys.stdout.write(format_overview(entries))
    else:
        print_error("no mechanism has all of that")
    return 0
