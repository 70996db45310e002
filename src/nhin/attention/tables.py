"""Tables that follow from the settings of a module: computed, not learned, and wrong if rounded or lost.

A module built on the meta device has no numbers, and ``to_empty`` fills it with whatever the memory held.
Weights then come from a saved state, but tables are not in it; and a cast to half precision misplaces
distant positions. So tables are computed again when they leave the meta device, and are never cast.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class ComputedTables(nn.Module):
    """A module with tables, which follow ``.to(device)`` but not ``.to(dtype)``.

    A subclass defines ``compute_tables`` and calls ``build_tables`` once its settings are set.
    """

    save_tables = False  # in the state, so that a load replaces them
    _table_names: tuple[str, ...] = ()

    def compute_tables(self) -> Mapping[str, Tensor]:
        """Return the tables by name; called where tensors are made on the CPU, or on the meta device."""
        raise NotImplementedError

    def build_tables(self, device: torch.device | None = None) -> None:
        """Compute the tables and store them as buffers on a device, torch's default when None."""
        device = torch.get_default_device() if device is None else device
        # Never inference tensors: those could not be used outside inference mode.
        with torch.inference_mode(False), torch.device("meta" if device.type == "meta" else "cpu"):
            tables = self.compute_tables()
        for name, table in tables.items():
            self.register_buffer(name, table.to(device), persistent=self.save_tables)
        self._table_names = tuple(tables)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ComputedTables":
        """Let an empty tensor show where ``fn`` moves things, and move the tables there."""
        tables = {name: self._buffers[name] for name in self._table_names}
        for name, table in tables.items():
            assert table is not None
            self._buffers[name] = table.new_empty(0, device="cpu" if table.is_meta else None)
        try:
            super()._apply(fn, recurse)
            moved = [self._buffers[name] for name in tables]
        finally:
            self._buffers.update(tables)
        for empty in moved[:1]:
            assert empty is not None
            self._move_tables(empty.device)
        return self

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride] # called by position
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Mapping[str, Any], *rest: Any
    ) -> None:
        """Load; compute tables that ``assign=True`` leaves on the meta device because none are saved."""
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)  # pyright: ignore[reportArgumentType]
        if local_metadata.get("assign_to_params_buffers"):
            given = next((x.device for x in state_dict.values() if isinstance(x, Tensor)), None)
            self._move_tables(given or torch.get_default_device())

    def _move_tables(self, device: torch.device) -> None:
        tables = [self._buffers[name] for name in self._table_names]
        if device.type != "meta" and any(table is not None and table.is_meta for table in tables):
            self.build_tables(device)
            return
        for name, table in zip(self._table_names, tables, strict=True):
            self._buffers[name] = None if table is None else table.to(device)
