"""Files that are there whole or not at all, whoever else writes, and what a file system refuses in one line.

What is written lies beside its place under a random name that was nobody's, so that a link that somebody put
there is not followed and two writers do not meet; one rename makes it visible. Whatever goes wrong, the file
that was there before stays and nothing half-written does.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from harness.errors import InputError


@contextmanager
def replacing(path: Path, errors: str = "strict") -> Iterator[TextIO]:
    """A text file in UTF-8 that takes the place of `path` when the block ends, unless it raises.

    `errors` is what becomes of half of a surrogate pair, which UTF-8 cannot hold.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    # "x": never through a link, never another's
    file = partial.open("x", encoding="utf-8", errors=errors, newline="\n")
    try:
        with file:
            yield file
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            file.close()  # what is still in memory could not be written: the reason is already on its way
        partial.unlink(missing_ok=True)
        raise


def write_text_whole(path: Path, text: str, errors: str = "strict") -> None:
    """Write a text file, lines ending in a newline alone; `errors` as for `replacing`."""
    with replacing(path, errors) as file:
        file.write(text)


def remove_folder(folder: Path) -> None:
    """Take a folder away as far as possible; what goes wrong here must not hide why it has to go."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def telling(what: str, where: Path, fix: str = "") -> Iterator[None]:
    """InputError where the file system refuses: no room, no right, a file in place of a folder."""
    try:
        yield
    except OSError as error:
        place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(where)
        raise InputError(f"{what}: {reason(error)}", where=place, fix=fix) from error
    except UnicodeEncodeError as error:
        if not any("\ud800" <= sign <= "\udfff" for sign in str(where.absolute())):
            raise
        raise InputError(f"{what}: the folder's name is not UTF-8", where=str(where), fix=fix) from error


def reason(error: OSError) -> str:
    """The file system's own words."""
    return error.strerror or type(error).__name__
