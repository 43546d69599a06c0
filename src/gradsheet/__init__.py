"""Neural networks you can open in a spreadsheet, with every number proved right.

`from_torch` and `to_torch` are here for convenience; PyTorch is loaded when one of them is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradsheet.modules import from_torch as from_torch
    from gradsheet.modules import to_torch as to_torch

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("from_torch", "to_torch"):
        from gradsheet import modules

        return getattr(modules, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
