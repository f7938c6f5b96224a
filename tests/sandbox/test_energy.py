"""Costs: the counters of a pretended machine, with known joules."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox import energy
from sandbox.energy import ESTIMATED, MEASURED, MIXED, WATTS_PER_CORE, Meter, Rapl, add

SPAN = 262_143_328_850


def zone(root: Path, name: str, kind: str, microjoules: int, span: int = SPAN) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "max_energy_range_uj").write_text(f"{span}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def cost(cpu: float, memory: float, joules: float | None, source: str) -> energy.Cost:
    return {
        "cpu_seconds": cpu,
        "wall_seconds": 2 * cpu,
        "peak_memory_mb": memory,
        "joules": {"value": joules, "source": source},
    }


def test_joules_are_the_rise_of_every_package(tmp_path: Path) -> None:
    first, second = (
        zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000),
        zone(tmp_path, "intel-rapl:1", "package-1", 7),
    )
    with Meter(tmp_path) as meter:
        first.write_text("8000000")
        second.write_text("1000007")
        assert meter.reading()["joules"] == {"value": pytest.approx(4.0), "source": MEASURED}
        first.write_text("9000000")
    assert meter.reading()["joules"]["value"] == pytest.approx(5.0)


def test_zones_inside_or_around_a_package_are_not_counted_twice(tmp_path: Path) -> None:
    counters = [zone(tmp_path, "intel-rapl:0", "package-0", 0)]
    counters += [zone(tmp_path, "intel-rapl:0:0", "core", 0), zone(tmp_path, "intel-rapl:1", "psys", 0)]
    counters += [zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0)]
    rapl = Rapl(tmp_path)
    for counter in counters:
        counter.write_text("2000000")
    assert rapl.joules() == pytest.approx(2.0)


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", SPAN - 1_000_000)
    rapl = Rapl(tmp_path)
    counter.write_text("3000000")
    assert rapl.joules() == pytest.approx(4.0)
    counter.write_text("1000000")  # once more around, nearly
    assert rapl.joules() == pytest.approx(4.0 + (SPAN - 2_000_000) * 1e-6)


def test_a_gap_in_which_it_may_have_wrapped_twice_is_no_measurement(tmp_path: Path, monkeypatch) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    clock = [0.0]
    monkeypatch.setattr(energy.time, "monotonic", lambda: clock[0])
    often, rarely = Rapl(tmp_path), Rapl(tmp_path)
    for i in range(1, 11):
        clock[0] += 100
        counter.write_text(str(i * 10**9))
        assert often.joules() == pytest.approx(1000 * i)
    assert rarely.joules() is None  # 1,000 s at up to 500 W exceed the range of 262 kJ
    counter.write_text(str(11 * 10**9))
    assert rarely.joules() is None  # and the gap cannot be mended later


@pytest.mark.parametrize("what", ["none", "still", "text", "gone"])
def test_without_trustworthy_counters_joules_are_estimated(tmp_path: Path, what: str) -> None:
    if what != "none":
        counter = zone(tmp_path, "intel-rapl:0", "package-0", 77)
    with Meter(tmp_path) as meter:
        sum(range(300_000))
        if what == "text":
            counter.write_text("unreadable")
        if what == "gone":
            counter.unlink()
    joules, cpu = meter.reading()["joules"], meter.reading()["cpu_seconds"]
    assert cpu > 0
    assert joules == {"value": pytest.approx(cpu * WATTS_PER_CORE), "source": ESTIMATED}
    assert f"{WATTS_PER_CORE:g} W" in ESTIMATED


def test_where_a_gpu_takes_part_the_source_says_that_it_is_left_out(tmp_path: Path) -> None:
    with Meter(tmp_path, gpu=True) as meter:
        pass
    assert meter.reading()["joules"]["source"] == f"{ESTIMATED}, without the GPU"


def test_one_standing_package_spoils_the_measurement(tmp_path: Path) -> None:
    moving, _ = zone(tmp_path, "intel-rapl:0", "package-0", 0), zone(tmp_path, "intel-rapl:1", "package-1", 5)
    rapl = Rapl(tmp_path)
    moving.write_text("1000000")
    assert rapl.joules() is None


def test_cpu_wall_and_memory_of_this_process(tmp_path: Path) -> None:
    with Meter(tmp_path) as meter:
        begin = time.process_time()
        while time.process_time() - begin < 0.1:
            pass
        time.sleep(0.1)
    reading = meter.reading()
    assert 0.1 <= reading["cpu_seconds"] < 0.2
    assert reading["wall_seconds"] >= 0.2
    assert 10 < reading["peak_memory_mb"] < 20_000
    assert meter.reading() == reading  # final after the end


def test_children_are_counted(tmp_path: Path) -> None:
    loop = "import time\nwhile time.process_time() < .3: pass"
    with Meter(tmp_path) as meter:
        subprocess.run([sys.executable, "-c", loop], check=True)
    assert meter.reading()["cpu_seconds"] >= 0.28


def test_costs_add_up_and_peaks_do_not() -> None:
    total = add(cost(1, 500, 10, ESTIMATED), cost(2, 400, 20, ESTIMATED))
    assert total == cost(3, 500, 30, ESTIMATED)


def test_measured_and_estimated_never_mix() -> None:
    mixed = add(cost(1, 500, 10, ESTIMATED), cost(2, 400, 20, MEASURED))
    assert mixed["joules"] == {"value": None, "source": MIXED}
    assert mixed["cpu_seconds"] == 3
    assert add(mixed, mixed)["joules"] == {"value": None, "source": MIXED}
    other = add(cost(1, 1, 1, ESTIMATED), cost(1, 1, 1, "estimated (65 W per busy core)"))
    assert other["joules"]["value"] is None
    with pytest.raises(ValueError, match="at least one"):
        add()


def test_a_resumed_run_has_cost_what_its_processes_have(tmp_path: Path) -> None:
    with Meter(tmp_path) as meter:
        pass
    alone = meter.reading()
    assert meter.reading({}) == alone
    assert meter.reading(cost(5, 90_000, 50, ESTIMATED)) == add(cost(5, 90_000, 50, ESTIMATED), alone)
