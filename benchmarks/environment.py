"""What a result depends on besides the code: device, versions, threads, precision, date."""

import datetime
import importlib.metadata
import os
import platform
from typing import Any

import jax

PACKAGES = ("lstm_jax", "jax", "jaxlib", "numpy", "optax", "flax", "torch")


def record() -> dict[str, Any]:
    """Returns the environment as plain data."""
    device = jax.devices()[0]
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": processor() if device.platform == "cpu" else device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "cores": os.cpu_count(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": _torch_threads(),
        "matmul_precision": str(jax.config.jax_default_matmul_precision or "default"),  # pyright: ignore
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def processor() -> str:
    """The processor's name and its widest vector unit, as the kernel tells them."""
    try:
        with open("/proc/cpuinfo") as lines:
            pairs = [line.split(":", 1) for line in lines if ":" in line]
    except OSError:
        return platform.processor() or platform.machine()
    info = {name.strip(): value.strip() for name, value in pairs}
    flags = info.get("flags", "").split()
    vector = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "no AVX")
    return f"{info.get('model name', platform.machine())}, {vector}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch_threads() -> int | None:
    try:
        import torch
    except ImportError:
        return None
    return torch.get_num_threads()
