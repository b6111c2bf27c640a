"""Smoother poses: a filter against jitter, and bones of constant length. Both are off by default."""

import msgspec

from stream.postprocess.batch import PersonState, PoseBatch
from stream.postprocess.bone_lengths import BoneLengths
from stream.postprocess.one_euro import OneEuro
from stream.protocols import ComponentContext
from stream.skeletons import skeleton_named


class Smoother:
    """A post-processor that filters the joints of each person and keeps their bone lengths.

    Bones are measured before the filter, which shortens moving limbs, and applied after it.
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
        self._people = PersonState(self._make)

    def apply(self, batch: PoseBatch) -> None:
        """Smooth the poses (`xyz`) of the batch in place and report the filter's delay."""
        for frame in batch.frames:
            captured_ns = frame.header.captured_ns
            for row, (euro, bones) in self._people.get(batch, frame):
                if bones is not None:
                    bones.observe(batch.xyz[row], batch.visible[row], captured_ns)
                if euro is not None:
                    batch.xyz[row] = euro.update(batch.xyz[row], captured_ns)
                    self._health.observe_ms("smooth", float(euro.delay_ms[1:].mean()))  # the root rests
                if bones is not None:
                    batch.xyz[row] = bones.apply(batch.xyz[row])

    def _make(self, skeleton: str) -> tuple[OneEuro | None, BoneLengths | None]:
        settings, joints = self._settings, len(skeleton_named(skeleton).joints)
        euro = OneEuro(settings.one_euro, joints) if settings.one_euro else None
        return euro, BoneLengths(skeleton) if settings.bones else None
