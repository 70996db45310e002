"""Run one of ``targets.py`` under atheris, which looks for bytes that reach other lines of nhin.

python scripts/fuzz/atheris_run.py requests --minutes 10

A finding ends it with a traceback and an exit code other than 0; its bytes are in the folder that is named.
Atheris is no dependency of nhin: ``pip install atheris``.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports,reportMissingModuleSource]

sys.path.insert(0, str(Path(__file__).parent))

MAX_MIB = 2000
MAX_BYTES = 4096
MAX_SECONDS = 30


def main() -> None:
    """Write the seeds, and fuzz until a finding or the end of the time."""
    parser = argparse.ArgumentParser(description="Look for bytes on which a target fails.")
    parser.add_argument("target", help="a key of TARGETS")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer (%(default)s)")
    parser.add_argument("--folder", type=Path, help="for the corpus and findings; a new one if not given")
    args = parser.parse_args()
    with atheris.instrument_imports(include=["nhin"]):  # pyright: ignore[reportAttributeAccessIssue]
        from targets import TARGETS, make_seeds

        if args.target not in TARGETS:
            parser.error(f"there is no target {args.target}; there are {', '.join(TARGETS)}")
        target, seeds = TARGETS[args.target], make_seeds(args.target)
        for data in seeds:  # so that what a target imports late is instrumented, too
            target(data)
    folder = args.folder or Path(tempfile.mkdtemp(prefix=f"nhin-fuzz-{args.target}-"))
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    print(f"{args.target}: corpus and findings are in {folder}", flush=True)
    options = {
        "max_total_time": round(60 * args.minutes),
        "seed": args.seed,
        "max_len": max(MAX_BYTES, *(2 * len(data) for data in seeds)),
        "rss_limit_mb": MAX_MIB,
        "timeout": MAX_SECONDS,
        "artifact_prefix": f"{folder}/",
    }
    words = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *words, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
