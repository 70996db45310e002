"""The lock of a run's folder: one training at a time."""

from contextlib import AbstractContextManager
from pathlib import Path

from nhin.files import lock_folder


def lock_run_dir(folder: Path) -> AbstractContextManager[None]:
    """Create a run's folder and lock it; see ``files.lock_folder``.

    Raises:
        UsageError: Another process is training in it.
        CheckpointError: It cannot be created or written to.
    """
    return lock_folder(folder, f"another training is running in {folder}; give this one its own folder")
