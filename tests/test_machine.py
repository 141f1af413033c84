"""CPUs and memory available to the process, read from /proc and cgroup files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crossette.errors import ConfigError
from crossette.machine import cpu_identity, format_memory, free_memory, parse_memory, total_memory, usable_cpus

MIB = 2**20
CGROUP = "sys/fs/cgroup/"
AVAILABLE = "MemTotal:  9000000 kB\nMemAvailable:   4096000 kB\nBuffers:  1 kB\n"


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def make_root(path: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": AVAILABLE, **files}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "350000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu.max": "100000 0\n"}, 8),
        ({"cpu.max": "nonsense\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_cpus_are_those_of_the_affinity_mask_limited_by_the_quota(
    tmp_path: Path, files: dict[str, str], cpus: int
) -> None:
    root = make_root(tmp_path, {CGROUP + name: text for name, text in files.items()})

    assert usable_cpus(root) == cpus


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 4000 * MIB),
        ({"memory.max": "max\n", "memory.current": "5\n"}, 4000 * MIB),
        ({"memory.max": f"{1000 * MIB}\n", "memory.current": f"{300 * MIB}\n"}, 700 * MIB),
        ({"memory.max": f"{9000 * MIB}\n", "memory.current": "0\n"}, 4000 * MIB),
        ({"memory.max": f"{300 * MIB}\n", "memory.current": f"{301 * MIB}\n"}, 0),
        (
            {
                "memory.max": f"{1000 * MIB}",
                "memory.current": f"{900 * MIB}",
                "memory.stat": f"anon 5\ninactive_file {250 * MIB}\nactive_file 7\n",
            },
            350 * MIB,
        ),
        (
            {
                "memory/memory.limit_in_bytes": f"{1000 * MIB}",
                "memory/memory.usage_in_bytes": f"{900 * MIB}",
                "memory/memory.stat": f"inactive_file 3\ntotal_inactive_file {250 * MIB}\n",
            },
            350 * MIB,
        ),
        ({"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "7"}, 4000 * MIB),
    ],
)
def test_free_memory_is_limited_by_system_and_cgroup(tmp_path: Path, files: dict[str, str], free: int) -> None:
    root = make_root(tmp_path, {CGROUP + name: text for name, text in files.items()})

    assert free_memory(root) == free


@pytest.mark.parametrize(
    ("files", "total"),
    [
        ({}, 9_216_000_000),
        ({"memory.max": "max\n"}, 9_216_000_000),
        ({"memory.max": f"{300 * MIB}\n"}, 300 * MIB),
        ({"memory/memory.limit_in_bytes": f"{300 * MIB}\n"}, 300 * MIB),
    ],
)
def test_the_memory_of_a_machine_is_limited_by_the_cgroup(tmp_path: Path, files: dict[str, str], total: int) -> None:
    root = make_root(tmp_path, {CGROUP + name: text for name, text in files.items()})

    assert total_memory(root) == total


def test_this_machine_has_cpus_and_memory() -> None:
    assert usable_cpus() >= 1
    assert 0 < free_memory() <= total_memory()


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("1073741824", 2**30),
        ("2GiB", 2 * 2**30),
        ("2gib", 2 * 2**30),
        ("1.5 GiB", 3 * 2**29),
        ("500MB", 500_000_000),
        ("500M", 500_000_000),
        ("64Ki", 65536),
        ("10 b", 10),
        ("40%", 400),
        (" 12.5 % ", 125),
        ("100%", 1000),
    ],
)
def test_amounts_of_memory(text: str, num_bytes: int) -> None:
    assert parse_memory(text, free=1000) == num_bytes


@pytest.mark.parametrize(
    "text", ["", "0", "0%", "101%", "-1GiB", "lots", "1TB", "1 2", "GiB", "1e9", "1_0", "+1", "\u0662GiB", "4\u0660%"]
)
def test_an_invalid_amount_of_memory_is_named(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_memory(text, free=1000)

    assert str(raised.value) == f"{text!r} is not an amount of memory. Give bytes (2GiB, 500MB) or a percentage (40%)."


@pytest.mark.parametrize(
    ("num_bytes", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (5 * MIB, "5.0 MiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**42, "4096.0 GiB"),
    ],
)
def test_formatted_memory(num_bytes: int, shown: str) -> None:
    assert format_memory(num_bytes) == shown


def cpuinfo(*, flags: str = "avx2", mhz: str = "2445.4") -> str:
    core = "processor : {0}\nmodel name : A\ncpu MHz : {1}\nmicrocode : 0x1\napicid : {0}\nflags : {2}\n\n"
    return core.format(0, mhz, flags) + core.format(1, mhz, flags)


def test_a_cpu_is_identified_by_values_of_all_cores(tmp_path: Path) -> None:
    cache = "sys/devices/system/cpu/cpu0/cache/index2/size"
    files = {"proc/cpuinfo": cpuinfo(), cache: "512K\n"}
    identity = cpu_identity(make_root(tmp_path / "a", files))

    assert identity is not None
    assert cpu_identity(make_root(tmp_path / "b", {**files, "proc/cpuinfo": cpuinfo(mhz="1500.0")})) == identity
    assert cpu_identity(make_root(tmp_path / "c", {**files, "proc/cpuinfo": cpuinfo(flags="avx2 avx512f")})) != identity
    assert cpu_identity(make_root(tmp_path / "d", {**files, cache: "1024K\n"})) != identity


def test_a_machine_without_cpuinfo_has_no_identity(tmp_path: Path) -> None:
    assert cpu_identity(make_root(tmp_path, {})) is None
