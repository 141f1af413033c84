"""What this process may use of the machine: CPUs and bytes, as the container's limits have it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from crossette.errors import ConfigError

_CGROUP = Path("/sys/fs/cgroup")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def usable_cpus() -> int:
    """CPUs in the affinity mask, or as many whole ones as the cgroup's quota pays for; at least one.

    More threads than the quota pays for fight for their slices: a factor of 4 to 45 in reports of other servers.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota()
    return max(1, min(affinity, int(quota) if quota is not None else affinity))


def _cpu_quota() -> float | None:
    """CPUs the cgroup allows (v2, then v1); None where it sets no limit."""
    limit = _read(_CGROUP / "cpu.max").split()
    if not limit:
        limit = [_read(_CGROUP / "cpu/cpu.cfs_quota_us"), _read(_CGROUP / "cpu/cpu.cfs_period_us")]
    if len(limit) == 2 and limit[0].isdigit() and limit[1].isdigit() and int(limit[1]):
        return int(limit[0]) / int(limit[1])
    return None


def free_memory() -> int:
    """Bytes this process can still take: what the system has available, and what is left of the cgroup."""
    bounds = [_available_memory()]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        allowed, taken = _read(_CGROUP / limit), _read(_CGROUP / used)
        if allowed.isdigit() and taken.isdigit():
            bounds.append(max(0, int(allowed) - int(taken)))
    return min(bounds)


def _available_memory() -> int:
    found = re.search(r"MemAvailable:\s+(\d+) kB", _read(Path("/proc/meminfo")))
    if found:
        return int(found[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def parse_memory(text: str, free: int) -> int:
    """Bytes named by `text`: `2GiB`, `500MB`, `1073741824`, or a share of the `free` bytes, `40%`.

    Raises ConfigError for anything else.
    """
    share = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())
    if share and 0 < float(share[1]) <= 100:
        return int(free * float(share[1]) / 100)
    size = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?", text.strip().lower())
    if size and float(size[1]) > 0:
        return int(float(size[1]) * _UNITS[size[2] or ""])
    raise ConfigError(f"{text!r} is not an amount of memory. Give bytes (2GiB, 500MB) or a share (40%).")


def show_memory(num_bytes: int) -> str:
    """`num_bytes` for a person: 1.5 GiB."""
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
