"""What this process may use of the machine: CPUs and bytes, as the container's limits have it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from crossette.errors import ConfigError

_ROOT = Path("/")
_CGROUP = "sys/fs/cgroup"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def usable_cpus(root: Path = _ROOT) -> int:
    """CPUs in the affinity mask, or as many whole ones as the cgroup's quota pays for; at least one.

    More threads than the quota pays for fight for their slices: a factor of 4 to 45 in reports of other servers.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota(root / _CGROUP)
    return max(1, min(affinity, int(quota) if quota is not None else affinity))


def _cpu_quota(cgroup: Path) -> float | None:
    """CPUs the cgroup allows (v2, then v1); None where it sets no limit."""
    limit = _read(cgroup / "cpu.max").split()
    if not limit:
        limit = [_read(cgroup / "cpu/cpu.cfs_quota_us"), _read(cgroup / "cpu/cpu.cfs_period_us")]
    if len(limit) == 2 and limit[0].isdigit() and limit[1].isdigit() and int(limit[1]):
        return int(limit[0]) / int(limit[1])
    return None


def cpu_identity(root: Path = _ROOT) -> str | None:
    """What tells this CPU from another: model, microcode, flags, caches; None where the system does not say."""
    told = {line for line in _read(root / "proc/cpuinfo").splitlines() if _about_all_cores(line)}
    caches = [_read(root / f"sys/devices/system/cpu/cpu0/cache/index{index}/size") for index in range(5)]
    return "\n".join([*sorted(told), *caches]) if told else None


def _about_all_cores(line: str) -> bool:
    name = line.partition(":")[0].strip().lower()
    return name not in ("", "processor", "cpu mhz", "bogomips", "apicid", "initial apicid", "core id", "physical id")


def free_memory(root: Path = _ROOT) -> int:
    """Bytes this process can still take: what the system has available, and what is left of the cgroup."""
    cgroup = root / _CGROUP
    bounds = [
        _available_memory(root),
        *_left(cgroup / "memory.max", cgroup / "memory.current", cgroup / "memory.stat"),
        *_left(
            cgroup / "memory/memory.limit_in_bytes",
            cgroup / "memory/memory.usage_in_bytes",
            cgroup / "memory/memory.stat",
        ),
    ]
    return min(bounds)


def _left(limit: Path, used: Path, stat: Path) -> list[int]:
    """Bytes between use and limit; none where there is no limit.

    Pages of files that nobody uses count as used, as after a download, but the kernel gives them up on demand.
    """
    allowed, taken = _read(limit), _read(used)
    if not (allowed.isdigit() and taken.isdigit()):
        return []
    counts = dict(line.split(maxsplit=1) for line in _read(stat).splitlines() if " " in line)
    cached = counts.get("total_inactive_file") or counts.get("inactive_file") or "0"  # v1 has both, v2 the latter
    return [max(0, int(allowed) - int(taken) + int(cached))]


def _available_memory(root: Path) -> int:
    found = re.search(r"MemAvailable:\s+(\d+) kB", _read(root / "proc/meminfo"))
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
    share = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*%", text.strip())
    if share and 0 < float(share[1]) <= 100:
        return int(free * float(share[1]) / 100)
    size = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?)?b?", text.strip(), re.ASCII | re.IGNORECASE)
    if size and float(size[1]) > 0:
        return int(float(size[1]) * _UNITS[(size[2] or "").lower()])
    raise ConfigError(f"{text!r} is not an amount of memory. Give bytes (2GiB, 500MB) or a share (40%).")


def show_memory(num_bytes: int) -> str:
    """`num_bytes` for a person: 1.5 GiB."""
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
