"""Files written whole or not at all, and folders looked at before any work.

A file is written beside its place under a name that nobody can guess, created anew, so that two writers never share it and a symbolic link
is never followed; then it takes its place in one step. A reader sees the old file or the new one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class StoreError(RuntimeError):
    """Results that cannot be read or kept: one line that names the path and says what would do."""


def failed(path: Path, error: OSError) -> str:
    """What is said of an error of the operating system about ``path``."""
    return f"cannot write {path}: {error.strerror or error}"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A new file to write in; it becomes ``path`` when the block ends well, and is gone when it does not.

    Raises:
        StoreError: the folder or the disk does not take it.
    """
    part = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.part{path.suffix}")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield part
        os.replace(part, path)
    except OSError as error:
        raise StoreError(failed(path, error)) from error
    finally:
        with suppress(OSError):
            part.unlink()


def replace_text(path: Path, text: str) -> None:
    """Write a whole text file or nothing of it.

    Raises:
        StoreError: the folder or the disk does not take it.
    """
    with whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        file.write(text)


def ready(folder: str | Path) -> Path:
    """Make the folder if there is none and write a first file in it, so that a folder that takes nothing is known before any work.

    Returns:
        the folder, now there and writable.

    Raises:
        StoreError: it cannot be made, or nothing can be written there.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(failed(folder, error)) from error
    probe = folder / f".{secrets.token_hex(8)}.probe"
    try:
        with probe.open("xb") as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        raise StoreError(failed(folder, error)) from error
    finally:
        with suppress(OSError):
            probe.unlink()
    return folder
