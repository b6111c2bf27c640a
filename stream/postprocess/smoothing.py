"""Steadier poses: a filter against jitter that knows the time, and bones that keep their length.

Both are off unless asked for. All that is remembered belongs to one person and goes when they go.
"""

import msgspec

from stream.postprocess.batch import PersonState, PoseBatch
from stream.postprocess.bone_lengths import BoneLengths
from stream.postprocess.one_euro import OneEuro
from stream.protocols import ComponentContext
from stream.skeletons import skeleton_named


class Smoother:
    """The two on every person: look at the bones, filter, then give the bones their length.

    In this order because a filter shortens what swings.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Section `smoothing` of a config: less jitter in published poses. Both filters are off by default.

        one_euro: The One Euro filter against jitter: {} uses its defaults, null disables it.

        bones: Keep the length of each bone constant for each person.
        """

        one_euro: OneEuro.Settings | None = None
        bones: bool = False

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._health = context.health
        self._people = PersonState(self._new)

    def apply(self, batch: PoseBatch) -> None:
        for moment in batch.frames:
            captured_ns = moment.header.captured_ns
            for row, (euro, bones) in self._people.get(batch, moment):
                if bones is not None:
                    bones.look(batch.xyz[row], batch.visible[row], captured_ns)
                if euro is not None:
                    batch.xyz[row] = euro.update(batch.xyz[row], captured_ns)
                    self._health.observe_ms("smooth", float(euro.delay_ms[1:].mean()))
                if bones is not None:
                    batch.xyz[row] = bones.project(batch.xyz[row])

    def _new(self, skeleton: str) -> tuple[OneEuro | None, BoneLengths | None]:
        euro, joints = self._settings.one_euro, len(skeleton_named(skeleton).joints)
        return OneEuro(euro, joints) if euro else None, BoneLengths(
            skeleton
        ) if self._settings.bones else None
