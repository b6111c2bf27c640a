"""Steadier poses: a filter against jitter that knows the time, and bones that keep their length.

Both are off unless asked for. All that is remembered belongs to one person and goes when they go.
"""

import msgspec

from stream.postprocess.batch import Batch, PerPerson
from stream.postprocess.bone_lengths import Bones
from stream.postprocess.one_euro import OneEuro
from stream.protocols import Context
from stream.skeletons import get


class Steady:
    """The two on every person: look at the bones, filter, then give the bones their length.

    In this order because a filter shortens what swings.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """one_euro: settings of the filter, {} for its defaults, null for none. bones: keep their lengths.
        swaps: undo it when the detector takes left for right for a moment.
        """

        one_euro: OneEuro.Settings | None = None
        bones: bool = False
        swaps: bool = False

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._health = context.health
        self._people = PerPerson(self._new)

    def finish(self, batch: Batch) -> None:
        for moment in batch.moments:
            captured_ns = moment.header.captured_ns
            for row, (euro, bones) in self._people.of(batch, moment):
                if bones is not None:
                    bones.look(batch.xyz[row], batch.seen[row], captured_ns)
                if euro is not None:
                    batch.xyz[row] = euro.update(batch.xyz[row], captured_ns)
                    self._health.took("smooth", float(euro.delay_ms[1:].mean()))
                if bones is not None:
                    batch.xyz[row] = bones.project(batch.xyz[row])

    def _new(self, skeleton: str) -> tuple[OneEuro | None, Bones | None]:
        euro, joints = self._settings.one_euro, len(get(skeleton).joints)
        return OneEuro(euro, joints) if euro else None, Bones(skeleton) if self._settings.bones else None
