"""The check of options: each number of the command line has its range, declared beside its type."""

from typing import TYPE_CHECKING, get_args

from nhin.ranges import Range

if TYPE_CHECKING:
    from cyclopts import ArgumentCollection


def check_options(options: "ArgumentCollection") -> None:
    """Refuse a value that is given and out of the range that its command declares.

    Raises:
        UsageError: The message names the option.
    """
    for option in options:
        for rule in get_args(option.field_info.annotation):
            if isinstance(rule, Range) and option.has_tokens:
                rule.check(option.name, option.value)
