"""``nhin recommend``: which attention mechanism, by measurement."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nhin.cli.bench import DEFAULT_OUT, MECHANISMS, RESULTS, check_device, free_bytes, measure_grid
from nhin.cli.output import make_table, print_tables, require_torch, to_json
from nhin.errors import UsageError
from nhin.format import format_bytes, parse_size

if TYPE_CHECKING:
    from rich.table import Table

    from nhin.bench.results import BenchResults, Machine
    from nhin.recommend.choose import Recommendation
    from nhin.recommend.question import AttentionQuestion

_OWN = DEFAULT_OUT / RESULTS
MEASURE_SECONDS = 40.0  # the rest of a minute is for starting up and for the last call


def recommend(  # noqa: PLR0913  # every option is one word of the command line
    *,
    length: str,
    phase: Literal["train", "prefill", "decode"],
    memory: str | None = None,
    quality: Literal["exact", "near", "any"] = "any",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    device: Literal["cpu", "cuda"] = "cpu",
    mechanism: str | None = None,
    task: Literal["recall", "copy", "selective", "chars", "words"] | None = None,
    measured: Path = _OWN,
    measure: bool = False,
    json: bool = False,
) -> int:
    """Name the attention mechanism for a situation, by what was measured.

    One layer, causal, as many key/value heads as query heads. Answers from your own measurements (nhin bench
    attention) or, where you have none of such a situation, from those of a known machine; it says which rows.
    The advice of the source report stands beside it, and where that disagrees.

    Args:
        length: Positions, such as 4096 or 32k.
        phase: train; prefill: a prompt of so many positions; decode: one position after so many.
        memory: The most that one layer may need, such as 500MB or 8GB.
        quality: exact: softmax attention; near: softmax over some keys, or an approximation of it, and with
            --task what learned nearly as much of it; any.
        dtype: Of the tensors.
        device: cpu or cuda.
        mechanism: Your own choice, which wins; the answer says what it costs.
        task: A task of nhin compare that quality is measured on.
        measured: Your measurements; --measure adds to that file.
        measure: Measure this situation here first, for at most a minute.
        json: Write one JSON object.
    """
    require_torch("the recommender needs")
    import torch

    from nhin.bench.results import describe_machine
    from nhin.recommend.choose import recommend as choose
    from nhin.recommend.question import AttentionQuestion, parse_positions
    from nhin.recommend.sources import choose_results, load_own, load_shipped

    size = None if memory is None else parse_size("memory", memory)
    question = AttentionQuestion(
        parse_positions(length), phase, size, quality, dtype, device, mechanism, task
    )
    if measure:
        check_device(device)
    own = load_own(measured)
    here = describe_machine(device if torch.cuda.is_available() else "cpu")
    if measure:
        own = _measure(question, own, here, measured)
    results = choose_results(question, own, load_shipped(), here)
    if results is None:
        raise UsageError("nothing has been measured: run nhin bench attention, or give --measure")
    answer = choose(question, results, results.machine == here)
    if json:
        sys.stdout.write(to_json(_to_tree(question, answer)))
    else:
        print_tables(*_format(question, answer))
    return 0


def _measure(
    question: "AttentionQuestion", own: "BenchResults | None", here: "Machine", path: Path
) -> "BenchResults":
    """Measure one situation here, and add it to the user's file."""
    import torch

    from nhin.bench.cells import BenchGrid
    from nhin.bench.results import BenchResults, BenchSettings
    from nhin.recommend.question import list_candidates

    if own is not None and own.machine != here:
        raise UsageError(
            f"{path} was measured on another machine or with other versions; name another --measured"
        )
    known = own or BenchResults(here, BenchSettings(repeats=7, max_bytes=free_bytes(question.device) // 2))
    names = [name for name in list_candidates(question) if name in MECHANISMS.split()]
    names += [question.mechanism] if question.mechanism is not None else []
    grid = BenchGrid(names, [question.phase], [question.length], [question.dtype], device=question.device)
    torch.set_num_threads(known.settings.threads)
    asked = {cell for group in grid.groups() for cell in group}
    rest = replace(known, rows=tuple(row for row in known.rows if row.cell not in asked))
    results, stopped = measure_grid(grid, rest, path, MEASURE_SECONDS)
    if stopped:
        raise KeyboardInterrupt
    return results


def _to_tree(question: "AttentionQuestion", answer: "Recommendation") -> dict[str, Any]:
    from nhin.recommend.quality import list_qualities

    tree = asdict(answer)
    tree["disagreements"] = [rule for rule in answer.rules if rule["here"] == "disagrees"]
    names = [answer.mechanism, *(cost.mechanism for cost in answer.runners_up)]
    tree["qualities"] = {name: list(map(asdict, list_qualities(name, question.task))) for name in names}
    return {"question": asdict(question)} | tree


def _format(question: "AttentionQuestion", answer: "Recommendation") -> list["Table | str"]:
    """Return the answer as text: name, cost, reason, runners-up, evidence, the report's rules."""
    from nhin.recommend.quality import explain_quality, show_quality

    settings = ", ".join(f"{name}={value}" for name, value in answer.settings.items())
    best = answer.estimate
    cell = best.rows[0].cell
    where = "this machine" if answer.is_here else "another machine, so --measure may answer otherwise here"
    machine = answer.machine.gpu or answer.machine.processor
    costs = make_table("mechanism", "time", "of PyTorch's kernel", "memory", "", "quality")
    for cost in (best, *answer.runners_up):
        ratio = "" if cost.ratio is None else f"{cost.ratio:.2f} ({cost.low:.2f} to {cost.high:.2f})"
        costs.add_row(
            cost.mechanism,
            f"{1e3 * cost.seconds:.4g} ms",
            ratio,
            format_bytes(cost.peak_bytes),
            cost.how,
            show_quality(cost.mechanism, question.task),
        )
    rows = make_table("rests on", "length", "time", "rounds", "date")
    for row in (row for cost in (best, *answer.runners_up) for row in cost.rows):
        rows.add_row(
            row.cell.mechanism,
            str(row.cell.length),
            f"{1e3 * (row.seconds or 0):.4g} ms",
            str(row.repeats),
            row.date,
        )
    rules = make_table("the source report says: in case of", "choose", "here")
    for rule in answer.rules:
        rules.add_row(rule["situation"], rule["advice"], rule["here"])
    return [
        f"{answer.mechanism}{f' ({settings})' if settings else ''}",
        f"{answer.reason[0].upper()}{answer.reason[1:]}.", "", costs, "",
        explain_quality([cost.mechanism for cost in (best, *answer.runners_up)], question.task),
        f"One layer of {cell.heads} heads of width {cell.head_dim}, batch {cell.batch}, measured on "
        f"{machine}, torch {answer.machine.torch}: {where}.", rows, "", rules,
    ]  # fmt: skip
