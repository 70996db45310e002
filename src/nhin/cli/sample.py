"""The command that lets a language model write."""

import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nhin.errors import UsageError

if TYPE_CHECKING:
    from nhin.decoding.beam_search import BeamSearchConfig
    from nhin.decoding.sampling import SamplingParams
    from nhin.lm.loading import LMRun, NGramRun
    from nhin.text.tokenizers import Tokenizer

LIMITS = {"tokens": 10_000_000, "count": 10_000, "threads": 1024}
MAX_PROMPT_BYTES = 2**24
TEMPERATURE = 0.8


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """A text that is being written, and what is told of it."""

    ids: Iterable[int]
    details: Mapping[str, Any]


def sample(  # noqa: PLR0913  # every option is one word of the command line
    run: Path,
    /,
    *,
    prompt: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
    tokens: int = 200,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seed: int | None = None,
    count: int = 1,
    beams: int | None = None,
    confidence: float | None = None,
    no_cache: bool = False,
    json: bool = False,
    stream: Annotated[bool | None, Parameter(negative="--no-stream")] = None,
    threads: int = 1,
) -> int:
    """Let a language model go on with a text; Ctrl-C ends it.

    Args:
        run: The folder of a run, or of one checkpoint.
        prompt: The text it goes on with; - reads standard input, nothing begins a new text.
        tokens: Most tokens that are written; fewer where the model ends the text.
        temperature: 0 takes the likeliest token each time, 1 what the model says, above rarer ones; 0.8 when
            not given.
        top_k: Choose among so many of the likeliest tokens.
        top_p: Choose among the likeliest that together have this probability.
        min_p: Choose among those that have this share of the likeliest one's probability.
        repetition_penalty: Above 1 makes tokens that were read already less likely.
        seed: The same one writes the same text; another each time when not given, told by --json.
        count: So many texts, the seed of each one more than that of the last.
        beams: Search the likeliest text with so many beams instead of choosing by chance.
        confidence: Leave out blocks where a token is so sure (0 to 1); for models trained with exits.
        no_cache: Read everything again for every token: slow, and the same text.
        json: Write one JSON object per text.
        stream: Write tokens as they come; the default on a terminal.
        threads: Processors to use.
    """
    for name, value in (("tokens", tokens), ("count", count), ("threads", threads)):
        if not 1 <= value <= LIMITS[name]:
            raise UsageError(f"--{name} is {value}; give 1 to {LIMITS[name]}")
    if stream and (json or beams is not None):
        raise UsageError(f"{'--json' if json else '--beams'} tells whole texts; leave out --stream")
    chance = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    how = _build_sampling(
        {name: value for name, value in chance.items() if value is not None}, beams, tokens, count
    )
    words = _read_prompt() if prompt == "-" else prompt
    opened = _load_run(run, threads, confidence)
    asked = opened.tokenizer.encode(words) or [opened.tokenizer.eos_id]
    texts = _generate_texts(opened, asked, how, tokens, cache=not no_cache)
    live = sys.stdout.isatty() if stream is None else stream
    for number, text in zip(range(count), texts, strict=False):
        if json:
            _write_json(words, text, opened.tokenizer)
        else:
            if count > 1:
                title = ", ".join(f"{name} {value:.10g}" for name, value in text.details.items())
                sys.stdout.write(f"{chr(10) if number else ''}==> {title} <==\n")
            _write_text(words, _stream_text(text.ids, opened.tokenizer), live)
    return 0


def _build_sampling(
    chance: dict[str, Any], beams: int | None, tokens: int, count: int
) -> "SamplingParams | BeamSearchConfig":
    """Say how tokens are chosen, or which options do not go together."""
    from nhin.decoding.beam_search import BeamSearchConfig
    from nhin.decoding.sampling import SamplingParams

    if beams is None:
        return SamplingParams(**{"temperature": TEMPERATURE, "seed": secrets.randbelow(2**32)} | chance)
    search = BeamSearchConfig(beams, tokens)
    for name in chance:
        raise UsageError(f"--beams leaves nothing to chance; leave out --{name.replace('_', '-')}")
    if count > beams:
        raise UsageError(f"--count is {count} and there are {beams} beams; give --beams {count} or more")
    return search


def _read_prompt() -> str:
    """Read the prompt from standard input, as it is."""
    data = sys.stdin.buffer.read(MAX_PROMPT_BYTES + 1)
    if len(data) > MAX_PROMPT_BYTES:
        raise UsageError(f"the prompt on standard input is longer than {MAX_PROMPT_BYTES} bytes; shorten it")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as why:
        raise UsageError(f"the prompt on standard input is not UTF-8: byte {why.start} is wrong") from None


def _load_run(path: Path, threads: int, confidence: float | None) -> "LMRun | NGramRun":
    import torch

    from nhin.lm.loading import open_any_run
    from nhin.models.early_exit import EarlyExitGPT

    torch.set_num_threads(threads)
    run = open_any_run(path)
    if confidence is not None:
        if not isinstance(run.model, EarlyExitGPT):
            raise UsageError("--confidence is for models trained with exits, and this one was not")
        run.model.confidence = confidence
    return run


def _generate_texts(
    run: "LMRun | NGramRun",
    prompt_ids: Sequence[int],
    sampling: "SamplingParams | BeamSearchConfig",
    tokens: int,
    *,
    cache: bool,
) -> Iterator[GeneratedText]:
    """Yield texts without an end of them, each written while its ids are taken; or those that were found."""
    from nhin.decoding.beam_search import BeamSearchConfig
    from nhin.lm.generate import beam_search, generate
    from nhin.lm.ngram import NGram, NGramScorer

    stop = {run.tokenizer.eos_id}
    model = NGramScorer(run.model) if isinstance(run.model, NGram) else run.model
    if isinstance(sampling, BeamSearchConfig):
        if isinstance(model, NGramScorer):
            raise UsageError("--beams is for networks, and this run holds counted n-grams; leave it out")
        for found in beam_search(model, prompt_ids, replace(sampling, stop=stop), cache=cache):
            yield GeneratedText(found.ids, {"score": found.score, "log_prob": found.log_prob})
        return
    while True:
        ids = generate(model, prompt_ids, tokens=tokens, sampling=sampling, stop=stop, cache=cache)
        yield GeneratedText(ids, {"seed": sampling.seed})
        sampling = replace(sampling, seed=sampling.seed + 1)


def _write_text(prompt: str, pieces: Iterable[str], live: bool) -> None:
    """Write a prompt and what follows, and end the line whatever happens meanwhile."""
    try:
        for piece in chain([prompt], pieces):
            sys.stdout.write(piece)
            if live:
                sys.stdout.flush()
    finally:
        sys.stdout.write("\n")
        sys.stdout.flush()


def _stream_text(ids: Iterable[int], tokenizer: "Tokenizer") -> Iterator[str]:
    """Yield text as tokens come, in whole characters."""
    from nhin.text.tokenizers import StreamDecoder

    streamer = StreamDecoder(tokenizer)
    for i in ids:
        yield streamer.push(i)
    yield streamer.finish()


def _write_json(prompt: str, text: GeneratedText, tokenizer: "Tokenizer") -> None:
    ids = list(text.ids)
    ended = ids[-1] == tokenizer.eos_id
    ids = ids[:-1] if ended else ids
    tree = {"prompt": prompt, "text": tokenizer.decode(ids), "ids": ids, "ended": ended, **text.details}
    sys.stdout.write(dumps(tree, ensure_ascii=False) + "\n")
    sys.stdout.flush()
