"""Describes this computer: a measurement names it, and a tuned engine is valid for it alone."""

import os
import platform
from pathlib import Path

import msgspec

# Instruction sets that decide the speed of matrix products.
_INSTRUCTION_SETS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "asimd",
    "sve",
    "bf16",
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A processor's name, cores and instruction sets; the GPU's name, or None if none is used.

    system: as `platform.system` names it. versions: of Python and the libraries in `versions`.
    """

    cpu: str
    cores: int
    instruction_sets: tuple[str, ...]
    gpu: str | None
    system: str
    versions: dict[str, str]

    def text(self) -> str:
        """One line for reports."""
        hardware = f"{self.gpu}, {self.cpu}" if self.gpu else self.cpu
        versions = " ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{hardware}, {self.cores} cores ({' '.join(self.instruction_sets)}); {versions}"


def machine(device: str = "cpu") -> Machine:
    """This machine, with its GPU if `device` is a CUDA device."""
    gpu = None
    if device.startswith("cuda"):
        import torch

        gpu = torch.cuda.get_device_name(device)
    name, flags = _processor()
    return Machine(
        cpu=name,
        cores=os.cpu_count() or 1,
        instruction_sets=tuple(word for word in _INSTRUCTION_SETS if word in flags),
        gpu=gpu,
        system=platform.system(),
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that can compute a network."""
    from importlib.metadata import PackageNotFoundError, version

    installed = {"python": platform.python_version()}
    for package in ("torch", "onnxruntime", "openvino"):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def _processor() -> tuple[str, frozenset[str]]:
    """Name and flags of the processor, from /proc/cpuinfo on Linux; elsewhere the name alone."""
    fields: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, colon, value = line.partition(":")
            if colon:
                fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, frozenset((fields.get("flags") or fields.get("Features") or "").split())
