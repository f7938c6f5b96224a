"""What a run costs: CPU-seconds, wall time and peak memory are measured; joules are measured or say "estimated".

Where the kernel's RAPL counters can be read and rise, joules are their rise, otherwise a constant times CPU-seconds:

    measured   sum over CPU packages of (energy_uj now - before) mod max_energy_range_uj, in 1e-6 J
    estimated  cpu_seconds x WATTS_PER_CORE

Source: Linux kernel, Documentation/power/powercap (the files under /sys/class/powercap). RAPL counts the CPU packages
of the whole machine, so runs side by side count each other, and memory, disk, screen and losses are not in it.
Different from common trackers: the two kinds are never added together, and a gap in which a counter may have wrapped
twice makes the figure an estimate instead of a silent undercount.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any, Self

# Rated power over cores: about 15 W / 4 in a light laptop, 65 W / 6 on a desk, 200 W / 24 in a server, so 4 to 11 W.
# The upper end, rounded: an order of magnitude that compares arms on one machine, not a measurement.
WATTS_PER_CORE = 10.0
# No single CPU package draws more for long; it bounds how fast a counter can wrap.
MAX_PACKAGE_WATTS = 500.0

MEASURED = "measured (RAPL, whole machine)"
ESTIMATED = f"estimated ({WATTS_PER_CORE:g} W per busy core)"
WITHOUT_GPU = ", without the GPU"
MIXED = "mixed: not summed"
POWERCAP = Path("/sys/class/powercap")

Cost = dict[str, Any]  # cpu_seconds, wall_seconds, peak_memory_mb, joules {"value": float | None, "source": str}


class Meter:
    """Measures from `__enter__` on; `reading()` may be taken at any time, and is final after `__exit__`.

    Args:
        powercap: folder of the kernel's power counters.
        gpu: does a GPU take part? Its energy and memory are not known; the source says so.

    RAPL counters wrap (after nine minutes at the least, for a usual range of 262 kJ): take a `reading()` at every log
    line or checkpoint, else a measurement becomes an estimate.
    """

    def __init__(self, powercap: Path = POWERCAP, *, gpu: bool = False) -> None:
        self._powercap, self._gpu = powercap, gpu
        self._final: Cost | None = None

    def __enter__(self) -> Self:
        self._final = None
        self._cpu, self._wall = _cpu_seconds(), time.perf_counter()
        self._rapl = Rapl(self._powercap)
        return self

    def __exit__(self, *_: object) -> None:
        self._final = self._measure()

    def reading(self, earlier: Cost | None = None) -> Cost:
        """CPU-seconds (this process, its finished children), wall seconds, peak memory in MB, joules and their source.

        `earlier` is what former processes of the same run have cost; it is added (see `add`), empty or None is nothing.
        The peak is the process's since it began, or its largest child's: the kernel keeps no other.
        """
        own = self._final or self._measure()
        return add(earlier, own) if earlier else own

    def _measure(self) -> Cost:
        cpu, joules = _cpu_seconds() - self._cpu, self._rapl.joules()
        return {
            "cpu_seconds": cpu,
            "wall_seconds": time.perf_counter() - self._wall,
            "peak_memory_mb": _peak_memory_mb(),
            "joules": _joules(cpu, joules, self._gpu),
        }


class Rapl:
    """The rise of all CPU package counters since construction; one that cannot be trusted stays None for good."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._zones = [zone for zone in sorted(powercap.glob("intel-rapl:*")) if _is_package(zone)]
        self._ranges = [_read(zone / "max_energy_range_uj") for zone in self._zones]
        self._last = self._counters()
        self._when = time.monotonic()
        self._risen = [0] * len(self._zones)

    def joules(self) -> float | None:
        """Joules since the start; None where a counter is missing, unreadable, stands still or is read too rarely."""
        now, when = self._counters(), time.monotonic()
        if now is None or self._last is None or self._may_have_wrapped_twice(when - self._when):
            self._last = None
            return None
        for i, (new, old, span) in enumerate(zip(now, self._last, self._ranges, strict=True)):
            self._risen[i] += new - old if new >= old else new - old + (span or 0)
        self._last, self._when = now, when
        return sum(self._risen) * 1e-6 if all(rise > 0 for rise in self._risen) else None

    def _counters(self) -> list[int] | None:
        """[packages] microjoules, or None unless there is a package and each can be read."""
        values = [_read(zone / "energy_uj") for zone in self._zones]
        known = [value for value in values if value is not None]
        return known if known and len(known) == len(values) and None not in self._ranges else None

    def _may_have_wrapped_twice(self, seconds: float) -> bool:
        return any(seconds * MAX_PACKAGE_WATTS * 1e6 > (span or 0) for span in self._ranges)


def add(*costs: Cost) -> Cost:
    """The costs together: times are summed, peak memory is the largest, joules only where every source is the same.

    Raises:
        ValueError: without a cost.
    """
    if not costs:
        raise ValueError("add needs at least one cost")
    total: Cost = {name: sum(cost[name] for cost in costs) for name in ("cpu_seconds", "wall_seconds")}
    total["peak_memory_mb"] = max(cost["peak_memory_mb"] for cost in costs)
    total["joules"] = add_joules([cost["joules"] for cost in costs])
    return total


def add_joules(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum of {"value", "source"}; sources that differ (measured and estimated, or two constants) are not summed."""
    sources = {part["source"] for part in parts}
    if len(sources) != 1 or any(part["value"] is None for part in parts):
        return {"value": None, "source": MIXED}
    return {"value": sum(part["value"] for part in parts), "source": sources.pop()}


def _joules(cpu_seconds: float, measured: float | None, gpu: bool) -> dict[str, Any]:
    value, source = (measured, MEASURED) if measured is not None else (cpu_seconds * WATTS_PER_CORE, ESTIMATED)
    return {"value": value, "source": source + WITHOUT_GPU * gpu}


def _cpu_seconds() -> float:
    return sum(usage.ru_utime + usage.ru_stime for usage in _usages())


def _usages() -> list[resource.struct_rusage]:
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def _peak_memory_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return max(usage.ru_maxrss for usage in _usages()) * unit / 1e6


def _is_package(zone: Path) -> bool:
    """A socket: subzones (core, uncore) are inside it and "psys" around it, each would count the same joules twice."""
    try:
        return (zone / "name").read_text().startswith("package")
    except OSError:
        return False


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
