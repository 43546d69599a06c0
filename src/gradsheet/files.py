"""Write files so that nobody ever meets half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradsheet.errors import InputError


def check_target(path: Path, suffix: str = "") -> None:
    """Raise `InputError` where no file can be written: tell it before long work, not after it.

    ``suffix`` is what the name of a workbook has to end with, or no program opens it as one.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
    if suffix and path.suffix.lower() != suffix:
        raise InputError(f"{path}: workbooks are written as {suffix}; end the name with that")


def make_folder(path: Path) -> None:
    """Make a folder, with those above it, unless it is there; raise `InputError` if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made a folder ({error.strerror}); use another") from None


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it onto ``path`` when the block succeeds.

    When the block raises, the temporary file is removed and ``path`` stays as it was.

    Raises `InputError` when the folder does not exist or cannot be written to, or for another
    ``suffix`` than the one given.
    """
    path = Path(path)
    check_target(path, suffix)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    except OSError as error:
        reason = f"{path}: cannot be written ({error.strerror}); choose another folder"
        raise InputError(reason) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)  # mkstemp makes private files; give this one the ordinary rights
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        try:
            temporary.replace(path)
        except OSError as error:  # on Windows: the file is open in Excel
            raise InputError(f"{path}: cannot be replaced ({error.strerror}); close it first") from None
    finally:
        temporary.unlink(missing_ok=True)
