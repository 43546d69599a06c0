"""Every error that gradsheet raises on purpose: one tree, one sentence each.

The sentence says what is wrong (with the value), why, and how to mend it. ``exit_code`` is what the
command line returns: 2 for a mistake in what the user gave, 1 for a failure of something that ran.
"""


class GradsheetError(Exception):
    """Base of all errors that are meant to be read by a user."""

    exit_code = 1


class InputError(GradsheetError):
    """What the user gave (a file, a flag, a network) cannot be used as it is."""

    exit_code = 2


class NetworkError(InputError):
    """A network is described wrongly: shapes, values, names or an unknown activation or loss."""


class WorkbookError(InputError):
    """A workbook cannot be read, or is not one that gradsheet wrote."""


class TooLargeError(InputError):
    """What was asked for would be too large; the message counts it and says how to shrink it."""


class MissingDependencyError(InputError):
    """An optional package or program is not installed; the message says how to install it."""


class EngineError(GradsheetError):
    """A spreadsheet engine failed to recalculate a workbook."""
