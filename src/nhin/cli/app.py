"""The command line: a table of commands, loaded when called, and the handling of errors."""

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from cyclopts import App, CycloptsError, Group, Parameter

from nhin import __version__
from nhin.cli.options import check_options
from nhin.cli.output import INTERRUPTED, print_error
from nhin.errors import CheckpointError, MissingExtra, NhinError, ShapeError, UnknownName, explain_install

COMMANDS = {
    "read": ("nhin.cli.read:read", "Read the Vietnamese text in pictures and PDFs."),
    "serve": ("nhin.cli.serve:serve", "Read pictures sent over HTTP, and serve a page for people."),
    "list": (
        "nhin.cli.list:list",
        "List attention mechanisms, positions, caches and presets, or describe one.",
    ),
    "show": ("nhin.cli.show:show", "Draw attention weights and masks, as PNG and SVG."),
    "restore": ("nhin.cli.restore:restore", "Put the marks back on unmarked Vietnamese text."),
    "synth": ("nhin.cli.synth:synth", "Make synthetic pictures of words and lines, with their text."),
    "prepare": ("nhin.cli.prepare:prepare", "Tokenize text for training a language model."),
    "train": ("nhin.cli.train:train", "Train a reader or a language model."),
    "ladder": ("nhin.cli.ladder:ladder", "Compare language models from n-grams to deep stacks on one text."),
    "sample": ("nhin.cli.sample:sample", "Generate text with a language model."),
    "inspect": (
        "nhin.cli.inspect:inspect",
        "Summarize a language model: weights, FLOPs, memory, first loss.",
    ),
    "evaluate": (
        "nhin.cli.evaluate:evaluate",
        "Measure a reader on labeled crops, or a language model on text.",
    ),
    "calibrate": (
        "nhin.cli.calibrate:calibrate",
        "Make a reader's confidences say how often it is right.",
    ),
    "replicate": (
        "nhin.cli.replicate:replicate",
        "Softmax against linear attention: the numbers of arXiv:2310.11685, exactly and beyond.",
    ),
    "bench": ("nhin.cli.bench:bench", "Measure time and memory of attention mechanisms on this machine."),
    "recommend": (
        "nhin.cli.recommend:recommend",
        "Name the attention mechanism for a length, a phase and a memory, by measurement.",
    ),
    "compare": (
        "nhin.cli.compare:compare",
        "Train tiny tasks with each attention mechanism at equal compute.",
    ),
    "claims": ("nhin.cli.claims:claims", "Check headline claims of papers on attention by measuring them."),
    "study": ("nhin.cli.study:study", "Encoder-decoder models with and without attention, by length."),
    "export": (
        "nhin.cli.export:export",
        "Export a reader to an ONNX pair, a language model to a Hugging Face folder.",
    ),
    "doctor": (
        "nhin.cli.doctor:doctor",
        "Tell versions, processors, threads and weights, and what is wrong with them.",
    ),
    "import": ("nhin.cli.import_:import_", "Import a language model from a Hugging Face folder."),
}
_USAGE, _PIPE = 2, 141
_MAX_ERROR = 400

app = App(
    name="nhin",
    help="Read Vietnamese text in pictures; train and measure the reader; look inside attention.",
    version=__version__,
    default_parameter=Parameter(negative=()),
    group_parameters=Group("Parameters", validator=check_options),
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
for _name, (_path, _help) in COMMANDS.items():
    app.command(_path, name=_name, help=_help)


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an expected error is one line on standard error."""
    _use_utf8(sys.stdout)
    _use_utf8(sys.stderr)
    words = list(sys.argv[1:] if tokens is None else tokens)
    try:
        # Checked here, because cyclopts would load every command to find the nearest name.
        if words and not words[0].startswith("-") and words[0] not in COMMANDS:
            raise UnknownName("command", words[0], COMMANDS)
        code = app(words)
        sys.stdout.flush()
    except CycloptsError as why:
        cause = why.__cause__ if isinstance(why.__cause__, NhinError) else why
        error = str(cause).strip().rstrip(".")[:_MAX_ERROR] or "the command line makes no sense"
        command = "".join(f"{word} " for word in why.command_chain or () if word in COMMANDS)
        if os.environ.get("LOCAL_RANK", "0") == "0":  # every process of torchrun has the same command line
            print_error(f"{error} (nhin {command}--help tells more)")
        return _USAGE
    except NhinError as why:
        if not getattr(why, "is_reported", False):
            print_error(str(why))
        return why.exit_code
    except ImportError as why:
        print_error(_format_missing_package(why))
        return MissingExtra.exit_code
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of standard output has gone; without this Python prints another error while it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE
    except (MemoryError, RuntimeError) as why:
        if not is_out_of_memory(why):
            raise
        print_error("there is not enough memory; choose smaller settings, or read fewer things at once")
        return ShapeError.exit_code
    except OSError as why:  # such as standard output redirected to a full disk
        print_error(f"{why.filename or 'cannot read or write'}: {why.strerror or why}")
        return CheckpointError.exit_code
    return code if isinstance(code, int) else 0


_NO_MEMORY = ("allocate memory", "out of memory", "bad_alloc", "size calculation overflowed")


def is_out_of_memory(why: BaseException) -> bool:
    """Return whether an error of Python or of torch means that there is no more memory."""
    return isinstance(why, MemoryError) or any(words in str(why) for words in _NO_MEMORY)


def _use_utf8(stream: TextIO) -> None:
    """Write UTF-8 whatever the locale, and the bytes of file names that are not UTF-8."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="surrogateescape")


def _format_missing_package(why: ImportError) -> str:
    """Return which package is missing; any other import error is a bug and raised again."""
    cause: BaseException | None = why
    while cause is not None and not isinstance(cause, ModuleNotFoundError):
        cause = cause.__cause__
    if cause is None or (cause.name or "nhin").split(".")[0] == "nhin":
        raise why
    return f"this command needs {cause.name}, which is not installed: {explain_install()}"
