"""One way to open an ONNX network: on the CPU, quiet, with threads that do not spin while they wait."""

from pathlib import Path
from typing import TYPE_CHECKING

from nhin.errors import CheckpointError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def open_session(path: Path, threads: int) -> "InferenceSession":
    """Open an ONNX file of our own; a stranger's needs ``IsolatedModel``.

    Raises:
        CheckpointError: It cannot be loaded.
    """
    try:
        return make_session(str(path), threads)
    except Exception as why:  # its own errors share no public base class
        raise CheckpointError(f"{path} cannot be loaded: {why}") from why


def make_session(network: str | bytes, threads: int) -> "InferenceSession":
    """Open an ONNX network.

    It keeps no memory between calls, nor a plan of it for each shape of the inputs: both grow with every new
    shape, and reading is no faster for them.

    Args:
        network: Its path or its bytes.
        threads: Threads of one call; spinning ones would slow down other processes.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
