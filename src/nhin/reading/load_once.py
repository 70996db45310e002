"""A property that is computed when first needed and kept; two threads never compute it twice."""

import threading
from functools import cached_property
from typing import Any, Protocol, Self, TypeVar, overload

Value = TypeVar("Value")


class HasLoading(Protocol):
    """An object with the lock under which its properties are computed."""

    loading: threading.RLock


class LoadOnce(cached_property[Value]):
    """A cached property of an object with a lock: that of Python itself has none since 3.12."""

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: HasLoading, owner: type[Any] | None = None) -> Value: ...
    def __get__(  # pyright: ignore[reportIncompatibleMethodOverride]  # only objects with a lock
        self, instance: HasLoading | None, owner: type[Any] | None = None
    ) -> Self | Value:
        """Return the value."""
        if instance is None:
            return self
        with instance.loading:
            return super().__get__(instance, owner)
