"""The CPUs and memory available to this process, including cgroup limits."""

from __future__ import annotations

import os
import re
from pathlib import Path

from crossette.errors import ConfigError

_ROOT = Path("/")
_CGROUP = "sys/fs/cgroup"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def usable_cpus(root: Path = _ROOT) -> int:
    """The number of CPUs in the affinity mask, limited by the cgroup quota rounded down; at least one.

    More threads than the quota allows are throttled: other servers report slowdowns by a factor of 4 to 45.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota(root / _CGROUP)
    return max(1, min(affinity, int(quota) if quota is not None else affinity))


def _cpu_quota(cgroup: Path) -> float | None:
    """The cgroup's CPU limit (v2, then v1); None if there is none."""
    limit = _read(cgroup / "cpu.max").split()
    if not limit:
        limit = [_read(cgroup / "cpu/cpu.cfs_quota_us"), _read(cgroup / "cpu/cpu.cfs_period_us")]
    if len(limit) == 2 and limit[0].isdigit() and limit[1].isdigit() and int(limit[1]):
        return int(limit[0]) / int(limit[1])
    return None


def cpu_identity(root: Path = _ROOT) -> str | None:
    """The CPU's model, microcode, flags and cache sizes; None if /proc/cpuinfo is missing."""
    lines = {line for line in _read(root / "proc/cpuinfo").splitlines() if _is_about_all_cores(line)}
    caches = [_read(root / f"sys/devices/system/cpu/cpu0/cache/index{index}/size") for index in range(5)]
    return "\n".join([*sorted(lines), *caches]) if lines else None


def _is_about_all_cores(line: str) -> bool:
    name = line.partition(":")[0].strip().lower()
    return name not in ("", "processor", "cpu mhz", "bogomips", "apicid", "initial apicid", "core id", "physical id")


def free_memory(root: Path = _ROOT) -> int:
    """The bytes this process can still allocate: the system's available memory, limited by the cgroup."""
    cgroup = root / _CGROUP
    bounds = [
        _memory_of("MemAvailable", root),
        *_cgroup_free(cgroup / "memory.max", cgroup / "memory.current", cgroup / "memory.stat"),
        *_cgroup_free(
            cgroup / "memory/memory.limit_in_bytes",
            cgroup / "memory/memory.usage_in_bytes",
            cgroup / "memory/memory.stat",
        ),
    ]
    return min(bounds)


def total_memory(root: Path = _ROOT) -> int:
    """The bytes of memory of this machine, limited by the cgroup."""
    cgroup = root / _CGROUP
    limits = (_read(cgroup / "memory.max"), _read(cgroup / "memory/memory.limit_in_bytes"))
    return min([_memory_of("MemTotal", root), *(int(limit) for limit in limits if limit.isdigit())])


def _cgroup_free(limit: Path, used: Path, stat: Path) -> list[int]:
    """The bytes between usage and limit, as a list of one; empty if there is no limit.

    The inactive page cache, as after a download, counts as used, but the kernel reclaims it on demand.
    """
    allowed, taken = _read(limit), _read(used)
    if not (allowed.isdigit() and taken.isdigit()):
        return []
    counts = dict(line.split(maxsplit=1) for line in _read(stat).splitlines() if " " in line)
    cached = counts.get("total_inactive_file") or counts.get("inactive_file") or "0"  # v1 has both, v2 the latter
    return [max(0, int(allowed) - int(taken) + int(cached))]


def _memory_of(key: str, root: Path) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", _read(root / "proc/meminfo"))
    if found:
        return int(found[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def parse_memory(text: str, free: int) -> int:
    """Parse an amount of memory in bytes: `2GiB`, `500MB`, `1073741824`, or a percentage of the `free` bytes, `40%`.

    Raises ConfigError for anything else.
    """
    share = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*%", text.strip())
    if share and 0 < float(share[1]) <= 100:
        return int(free * float(share[1]) / 100)
    size = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?)?b?", text.strip(), re.ASCII | re.IGNORECASE)
    if size and float(size[1]) > 0:
        return int(float(size[1]) * _UNITS[(size[2] or "").lower()])
    raise ConfigError(f"{text!r} is not an amount of memory. Give bytes (2GiB, 500MB) or a percentage (40%).")


def format_memory(num_bytes: int) -> str:
    """Format a number of bytes: 1.5 GiB."""
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
