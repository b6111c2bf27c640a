"""Turns windows of 2D keypoints into 3D poses: the H2OT models and their weights.

    runner = lifter.load("small")
    poses = runner.lift(windows)  # (B, F, J, 3) metres

Importing this package does not import torch; `load` and `from_official` do.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifter.spec import LifterSpec, Schedule
from stream.errors import ConfigError

if TYPE_CHECKING:
    from lifter.checkpoints.official import from_official as from_official
    from lifter.runner import Runner

__all__ = ["LifterSpec", "Schedule", "from_official", "load", "models"]

MODELS = Path(__file__).parent / "models"


def load(weights: str | Path, **options: Any) -> "Runner":
    """A runner of packaged weights (by name) or of a .safetensors file.

    options: those of `lifter.runner.Runner`. Raises ConfigError for an unknown name and CheckpointError
    for a damaged file.
    """
    from lifter import weights as files
    from lifter.runner import Runner

    return Runner(*files.load(weights_path(weights)), **options)


def models() -> list[LifterSpec]:
    """Specs of the packaged weights, sorted by name."""
    from lifter.weights import read_spec

    return [read_spec(path) for path in sorted(MODELS.glob("*.safetensors"))]


def weights_path(weights: str | Path) -> Path:
    """The file of packaged weights (by name), or `weights` itself if it is a path."""
    path = Path(weights)
    if path.suffix == ".safetensors" or path.parent != Path("."):
        return path
    packaged = MODELS / f"{weights}.safetensors"
    if not packaged.is_file():
        names = ", ".join(p.stem for p in sorted(MODELS.glob("*.safetensors"))) or "none"
        raise ConfigError(
            f"lifter.weights: expected a .safetensors file or a packaged name ({names}), got {weights!s}"
        )
    return packaged


def __getattr__(name: str) -> object:
    if name == "from_official":
        from lifter.checkpoints.official import from_official

        return from_official
    raise AttributeError(f"module 'lifter' has no attribute {name!r}")
