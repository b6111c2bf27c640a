"""The user's cache folder, and writing a file so that readers see all of it or the previous one."""

import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """Folder for files that can be downloaded or computed again.

    The environment variable POSELIFT_CACHE if it is set, otherwise `poselift` in the platform's cache folder.
    """
    if named := os.environ.get("POSELIFT_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        root = "~/Library/Caches"
    else:
        root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "poselift"


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Replace the file `path` in one step: readers see the previous file or the complete new one.

    Yields the path of a temporary file in the same folder, for the block to create. At the end of the block
    its content is flushed to the disk and the file takes the name `path`; it keeps the permissions of an
    existing file, and a symbolic link keeps pointing at the file. When the block raises, the temporary file
    is deleted and `path` is unchanged. OSError when the folder cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
