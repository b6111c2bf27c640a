"""Folders of this user."""

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """Where lies what can be got or made again: POSELIFT_CACHE, else the platform's folder for caches."""
    if named := os.environ.get("POSELIFT_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        root = "~/Library/Caches"
    else:
        root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "poselift"
