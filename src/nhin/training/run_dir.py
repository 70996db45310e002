"""The folder of a run: its lock, its checkpoint and its recipe. Without torch."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from nhin.errors import CheckpointError
from nhin.files import find_folder, lock_folder, read_folder, read_json


def lock_run_dir(folder: Path) -> AbstractContextManager[None]:
    """Create a run's folder and lock it; see ``files.lock_folder``.

    Raises:
        UsageError: Another process is training in it.
        CheckpointError: It cannot be created or written to.
    """
    return lock_folder(folder, f"another training is running in {folder}; give this one its own folder")


def find_checkpoint(path: Path) -> Path:
    """Return the folder of a run's checkpoint; ``path`` itself where it is not the folder of a run."""
    folder = path / "checkpoint"
    return path if find_folder(folder) is None else folder


def read_run_recipe(run: Path) -> dict[str, Any]:
    """Return the recipe of a run as JSON values: its checkpoint's, or ``recipe.json`` before the first save.

    Returns:
        The settings; none where there is neither a checkpoint nor a whole ``recipe.json``: such a run starts
        from step 0 with the recipe that it is given.

    Raises:
        CheckpointError: The recipe in the checkpoint is damaged.
    """
    tree = read_folder(run / "checkpoint", lambda folder: read_json(folder / "recipe.json"))
    if tree is None:
        try:
            tree = read_json(run / "recipe.json")
        except CheckpointError:
            tree = {}
        return tree if isinstance(tree, dict) else {}
    if not isinstance(tree, dict):
        raise CheckpointError(f"{run / 'checkpoint' / 'recipe.json'} is no recipe")
    return tree
