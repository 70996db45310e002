"""The command line: a table of contents and one way to fail. Bodies load when called."""

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from cyclopts import App, CycloptsError, Parameter

from nhin import __version__
from nhin.errors import MissingExtra, NhinError, UnknownName

COMMANDS = {
    "read": ("nhin.cli.read:read", "Read the Vietnamese text in pictures."),
    "list": (
        "nhin.cli.list:list",
        "List attention mechanisms, positions, states and presets; tell all about one.",
    ),
    "show": ("nhin.cli.show:show", "Draw what attention looks at, as PNG and SVG."),
    "synth": ("nhin.cli.synth:synth", "Make synthetic pictures of words and lines, with their text."),
    "prepare": ("nhin.cli.prepare:prepare", "Turn text into tokens that a language model trains on."),
    "train": ("nhin.cli.train:train", "Train a reader or a language model."),
    "ladder": ("nhin.cli.ladder:ladder", "Compare language models from n-grams to deep stacks on one text."),
    "sample": ("nhin.cli.sample:sample", "Let a language model write."),
    "inspect": ("nhin.cli.inspect:inspect", "Tell what a language model consists of and costs."),
    "evaluate": (
        "nhin.cli.evaluate:evaluate",
        "Measure a reader on labelled crops, or a language model on text.",
    ),
    "replicate": (
        "nhin.cli.replicate:replicate",
        "Softmax against linear attention: the numbers of arXiv:2310.11685, exactly and beyond.",
    ),
    "export": (
        "nhin.cli.export:export",
        "Turn a reader into the pair that reads, a language model into Hugging Face's layout.",
    ),
    "import": ("nhin.cli.import_:import_", "Make a run of a language model in Hugging Face's layout."),
}
_USAGE, _INTERRUPTED, _PIPE = 2, 130, 141

app = App(
    name="nhin",
    help="Read Vietnamese text in pictures; train and measure the reader; look inside attention.",
    version=__version__,
    default_parameter=Parameter(negative=()),
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
for _name, (_path, _help) in COMMANDS.items():
    app.command(_path, name=_name, help=_help)


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an expected failure is one line on standard error."""
    _use_utf8(sys.stdout)
    _use_utf8(sys.stderr)
    words = list(sys.argv[1:] if tokens is None else tokens)
    try:
        # Asked here, because cyclopts would load every command to find the nearest name.
        if words and not words[0].startswith("-") and words[0] not in COMMANDS:
            raise UnknownName("command", words[0], COMMANDS)
        code = app(words)
        sys.stdout.flush()
    except CycloptsError as why:
        _print_error(f"{_format_error(why)} (nhin {_command_name(why)}--help tells more)")
        return _USAGE
    except NhinError as why:
        _print_error(str(why))
        return why.exit_code
    except ImportError as why:
        _print_error(_format_missing_package(why))
        return MissingExtra.exit_code
    except KeyboardInterrupt:
        _print_error("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # Nobody listens any more; without this Python complains once more while it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE
    return code if isinstance(code, int) else 0


def _use_utf8(stream: TextIO) -> None:
    """Write UTF-8 whatever the locale says, and file names that are no text as the bytes they are."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="surrogateescape")


def _print_error(sentence: str) -> None:
    sys.stderr.write(f"nhin: {' '.join(sentence.split())}\n")


def _format_error(why: CycloptsError) -> str:
    return str(why).strip().rstrip(".") or "the command line makes no sense"


def _format_missing_package(why: ImportError) -> str:
    """Say which package a command lacks; anything else that fails to import is our mistake."""
    cause: BaseException | None = why
    while cause is not None and not isinstance(cause, ModuleNotFoundError):
        cause = cause.__cause__
    if cause is None or (cause.name or "nhin").split(".")[0] == "nhin":
        raise why
    return f"this command needs {cause.name}, which is not installed: pip install 'nhin[torch]'"


def _command_name(why: CycloptsError) -> str:
    """Name the command whose help would tell more."""
    return "".join(f"{word} " for word in why.command_chain or () if word in COMMANDS)
