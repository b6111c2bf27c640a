"""What this computer is, by its hardware: where a measurement was taken, and what a choice holds for."""

import os
import platform
from pathlib import Path

import msgspec

# What decides how fast matrix products are.
_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "asimd", "sve", "bf16")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A processor by name, cores it has and instruction sets it knows; gpu: None where none is used."""

    cpu: str
    cores: int
    sets: tuple[str, ...]
    gpu: str | None
    system: str
    versions: dict[str, str]

    def text(self) -> str:
        """One line for people."""
        where = f"{self.gpu}, {self.cpu}" if self.gpu else self.cpu
        versions = " ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{where}, {self.cores} cores ({' '.join(self.sets)}); {versions}"


def machine(device: str = "cpu") -> Machine:
    """This machine, with the GPU if `device` is one."""
    gpu = None
    if device.startswith("cuda"):
        import torch

        gpu = torch.cuda.get_device_name(device)
    name, flags = _processor()
    return Machine(
        cpu=name,
        cores=os.cpu_count() or 1,
        sets=tuple(word for word in _SETS if word in flags),
        gpu=gpu,
        system=platform.system(),
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Versions of the libraries here that may compute a network."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("torch", "onnxruntime", "openvino"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> tuple[str, frozenset[str]]:
    """Name and flags as Linux tells them; elsewhere what Python knows."""
    told: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, colon, value = line.partition(":")
            if colon:
                told.setdefault(key.strip(), value.strip())
    name = told.get("model name") or platform.processor() or platform.machine()
    return name, frozenset((told.get("flags") or told.get("Features") or "").split())
