"""Which source may use which camera name, so that no sender can forge the poses of another source."""

import threading
from collections.abc import Collection

SILENT_S = 5.0  # after so long without a frame a name is free for another source


class CameraNames:
    """Names of configured sources belong to these; any other name to its first sender until it is silent."""

    def __init__(self, sources: Collection[str] = ()) -> None:
        self._sources = frozenset(sources)  # replaced as a whole: other threads read it
        self._owners: dict[str, tuple[str, int]] = {}  # source, and time of its newest frame
        self._lock = threading.Lock()

    def claim(self, camera: str, source: str, now_ns: int) -> bool:
        """Whether `source` may use the name now; a successful claim holds for SILENT_S."""
        if camera in self._sources:
            return camera == source
        with self._lock:
            owner, last_ns = self._owners.get(camera, (source, now_ns))
            if owner != source and now_ns - last_ns < SILENT_S * 1e9:
                return False
            self._owners[camera] = source, now_ns
            return True

    def set_sources(self, sources: Collection[str]) -> None:
        """From now on, these are the configured sources."""
        self._sources = frozenset(sources)

    def release(self, camera: str) -> None:
        """Forget the owner of a name that is no longer in use."""
        with self._lock:
            self._owners.pop(camera, None)
