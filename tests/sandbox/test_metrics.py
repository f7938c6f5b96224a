import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.logger import KVWriter, Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sandbox import metrics
from sandbox.errors import CorruptFile, NoResources
from sandbox.metrics import JsonLines, RunWriter, read_rows

ROOT = Path(metrics.__file__).parent.parent


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


def log(writer: RunWriter, step: int, **values) -> None:
    logger = Logger(None, [writer])
    for key, value in values.items():
        logger.record(key.replace("__", "/"), value)
    logger.dump(step)


# ------------------------------------------------------------------ rows


def test_rows_are_one_json_object_per_line_in_the_order_given(tmp_path):
    rows = JsonLines(tmp_path / "m.jsonl")
    rows.append(3, {"b": 0.1, "a": 2, "c": True, "d": "text", "e": None})
    assert (tmp_path / "m.jsonl").read_text() == '{"step":3,"b":0.1,"a":2,"c":true,"d":"text","e":null}\n'
    rows.append(np.int64(4), {"f": np.float32(0.1), "g": torch.tensor([7]), "h": np.bool_(False)})
    assert read_rows(tmp_path / "m.jsonl")[1] == {"step": 4, "f": 0.10000000149011612, "g": 7, "h": False}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=4))
def test_every_float_comes_back(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("rows") / "m.jsonl"
    JsonLines(path).append(1, {str(i): value for i, value in enumerate(values)})
    (row,) = read_rows(path)
    for i, value in enumerate(values):
        assert (
            math.isnan(row[str(i)])
            if math.isnan(value)
            else (row[str(i)], math.copysign(1, row[str(i)]))
            == (
                value,
                math.copysign(1, value),
            )
        )
    json.loads(path.read_text(), parse_constant=pytest.fail)  # strict JSON: no bare NaN


def test_each_row_is_readable_at_once(tmp_path):
    rows = JsonLines(tmp_path / "m.jsonl")
    for step in range(3):
        rows.append(step, {"x": step})
        assert len(read_rows(tmp_path / "m.jsonl")) == step + 1


@pytest.mark.parametrize("value", [np.zeros(2), [1], object(), torch.zeros(0)])
def test_what_is_no_number_is_refused_by_name(tmp_path, value):
    rows = JsonLines(tmp_path / "m.jsonl")
    with pytest.raises(TypeError, match="'odd'"):
        rows.append(1, {"fine": 1, "odd": value})
    with pytest.raises(ValueError, match="step"):
        rows.append(1, {"step": 2})
    assert rows.offset() == 0


def test_cutting_back_and_going_on_equals_never_having_gone_further(tmp_path):
    straight, resumed = JsonLines(tmp_path / "a"), JsonLines(tmp_path / "b")
    for step in range(6):
        straight.append(step, {"x": step / 3})
    for step in range(3):
        resumed.append(step, {"x": step / 3})
    kept = resumed.offset()
    assert kept == (tmp_path / "b").stat().st_size
    for step in range(3, 5):
        resumed.append(step, {"x": -1})
    resumed.close()
    resumed = JsonLines(tmp_path / "b")
    resumed.truncate(kept)
    for step in range(3, 6):
        resumed.append(step, {"x": step / 3})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("tail", [b'{"step":2,"x', b'{"step":2}', b"x" * 200_000])
def test_a_half_written_last_row_is_passed_over_and_cut(tmp_path, tail):
    path = tmp_path / "m.jsonl"
    JsonLines(path).append(1, {"x": 1})
    kept = path.stat().st_size
    path.write_bytes(path.read_bytes() + tail)
    assert read_rows(path) == [{"step": 1, "x": 1}]
    rows = JsonLines(path)
    assert rows.offset() == kept
    rows.append(3, {"x": 3})
    assert read_rows(path) == [{"step": 1, "x": 1}, {"step": 3, "x": 3}]


def test_an_offset_that_cannot_be_of_this_file_is_refused(tmp_path):
    rows = JsonLines(tmp_path / "m.jsonl")
    rows.append(1, {"x": 1})
    end = rows.offset()
    for offset in (end + 1, end - 1, 1):
        with pytest.raises(CorruptFile, match=r"m\.jsonl"):
            rows.truncate(offset)
    assert rows.offset() == end


def test_a_broken_row_is_named_by_its_number(tmp_path):
    path = tmp_path / "m.jsonl"
    for bad in ("{oops}", "[1]", '{"x": 1}', '{"step": NaN}'):
        path.write_text(f'{{"step":1}}\n{bad}\n{{"step":3}}\n')
        with pytest.raises(CorruptFile, match=r"m\.jsonl, row 2"):
            read_rows(path)
    assert read_rows(tmp_path / "none.jsonl") == []


def test_a_full_disk_leaves_no_half_row(tmp_path):
    rows = JsonLines(tmp_path / "m.jsonl")
    rows.append(1, {"x": 1})
    before = (tmp_path / "m.jsonl").read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, old[1]))
    try:
        with pytest.raises(NoResources, match=r"m\.jsonl"):
            rows.append(2, {"x": "y" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert (tmp_path / "m.jsonl").read_bytes() == before
    rows.append(2, {"x": 2})
    assert [row["step"] for row in read_rows(tmp_path / "m.jsonl")] == [1, 2]


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(NoResources):
        JsonLines(tmp_path / "nowhere" / "m.jsonl")


# ------------------------------------------------------------------ the three views


def test_clocks_and_values_part_company(tmp_path):
    writer = RunWriter(tmp_path)
    assert isinstance(writer, KVWriter)
    logger = Logger(None, [writer])
    logger.record("rollout/ep_rew_mean", np.float32(0.5))
    logger.record("train/loss", 0.25, exclude="tensorboard")
    logger.record("time/fps", 1000)
    logger.record("time/iterations", 2, exclude=("tensorboard", "json"))
    logger.record("system/rss_mb", 80.5)
    logger.record("train/note", "words", exclude=("stdout", "json", "csv"))
    logger.dump(step=128)
    writer.close()
    assert read_rows(tmp_path / "metrics.jsonl") == [
        {"step": 128, "rollout/ep_rew_mean": 0.5, "train/loss": 0.25, "train/note": "words"}
    ]
    assert read_rows(tmp_path / "timing.jsonl") == [
        {"step": 128, "time/fps": 1000, "time/iterations": 2, "system/rss_mb": 80.5}
    ]
    tags = events(tmp_path).Tags()["scalars"]
    assert sorted(tags) == ["rollout/ep_rew_mean", "system/rss_mb", "time/fps"]
    assert points(tmp_path, "time/fps") == [(128, 1000.0)]


def test_a_file_without_values_gets_no_row(tmp_path):
    writer = RunWriter(tmp_path)
    log(writer, 1, time__fps=3)
    log(writer, 2, train__loss=math.nan)
    writer.close()
    assert [row["step"] for row in read_rows(tmp_path / "timing.jsonl")] == [1]
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [2]
    assert math.isnan(points(tmp_path, "train/loss")[0][1])


def test_a_resumed_run_has_each_point_once(tmp_path):
    writer = RunWriter(tmp_path)
    for step in range(1, 11):
        log(writer, step, train__loss=step, time__fps=step)
        if step == 5:
            kept = writer.position(step)
    writer.text("config", "first", 0)
    writer.close()
    writer = RunWriter(tmp_path, position=kept)
    for step in range(6, 13):
        log(writer, step, train__loss=step + 100, time__fps=step)
    writer.close()
    expected = [(step, float(step if step < 6 else step + 100)) for step in range(1, 13)]
    assert points(tmp_path, "train/loss") == expected
    assert [(row["step"], row["train/loss"]) for row in read_rows(tmp_path / "metrics.jsonl")] == expected
    assert [row["step"] for row in read_rows(tmp_path / "timing.jsonl")] == list(range(1, 13))
    assert "config/text_summary" in events(tmp_path).Tags()["tensors"]


def test_many_resumes_within_a_second_and_a_clock_that_goes_back(tmp_path, monkeypatch):
    clock = 2_000_000_000.0
    monkeypatch.setattr(metrics.time, "time", lambda: clock)
    kept = None
    for start in range(12):
        writer = RunWriter(tmp_path, position=kept)
        for step in (start + 1, start + 2):  # the second of each is lost, and written again by the next
            log(writer, step, train__loss=start)
            kept = kept if step > start + 1 else writer.position(step)
        writer.close()
        clock -= 86_400.0 * (start % 3)
    assert points(tmp_path, "train/loss") == [(step + 1, float(step)) for step in range(12)] + [(13, 11.0)]


def test_starting_anew_forgets_the_first_attempt(tmp_path):
    for value in (1, 2):
        writer = RunWriter(tmp_path)
        log(writer, 0, train__loss=value)
        log(writer, value, train__loss=value)
        writer.close()
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 0, "train/loss": 2}, {"step": 2, "train/loss": 2}]
    assert points(tmp_path, "train/loss") == [(0, 2.0), (2, 2.0)]


KILLED = """
import os, signal, sys
from sandbox.metrics import RunWriter
writer = RunWriter(sys.argv[1])
for step in range(1, 8):
    writer.write({"train/loss": float(step)}, {}, step)
    if step == 4:
        open(sys.argv[1] + "/kept", "w").write(repr(writer.position(step)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_and_resumed(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == list(range(1, 8))
    assert [step for step, _ in points(tmp_path, "train/loss")] == list(range(1, 8))  # nothing waited in a buffer
    (newest,) = tmp_path.glob("events.*")
    newest.write_bytes(newest.read_bytes()[:-9])  # and a record cut by the kill
    writer = RunWriter(tmp_path, position=json.loads((tmp_path / "kept").read_text().replace("'", '"')))
    log(writer, 5, train__loss=50)
    writer.close()
    assert points(tmp_path, "train/loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 50.0)]
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]


def test_files_that_lost_rows_are_not_gone_on_with(tmp_path):
    writer = RunWriter(tmp_path)
    log(writer, 1, train__loss=1)
    kept = writer.position(1)
    writer.close()
    (tmp_path / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(CorruptFile, match="rows are missing"):
        RunWriter(tmp_path, position=kept)


def test_text_and_hparams_go_into_the_same_folder(tmp_path):
    writer = RunWriter(tmp_path)
    writer.text("config", "# title", 3)
    writer.hparams({"agent": {"lr": 0.1, "sizes": [1, 2]}, "seed": None, "fast": True}, {"eval/mean_reward": 1.0})
    log(writer, 5, eval__mean_reward=0.75)
    writer.close()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []
    assert len(list(tmp_path.glob("events.*"))) == 1
    seen = events(tmp_path)
    (event,) = seen.Tensors("config/text_summary")
    assert (event.step, event.tensor_proto.string_val[0]) == (3, b"# title")
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = seen.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    started = HParamsPluginData.FromString(content).session_start_info.hparams
    assert started["agent.lr"].number_value == 0.1
    assert started["agent.sizes"].string_value == "[1, 2]"
    assert {"_hparams_/experiment", "_hparams_/session_end_info"} <= set(seen.summary_metadata)
    assert points(tmp_path, "eval/mean_reward") == [(5, 0.75)]


def test_without_tensorboard_one_warning_and_the_rows_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "_event_file_name", lambda folder: "no/such/folder/events")
    warnings: list[str] = []
    writer = RunWriter(tmp_path, warn=warnings.append)
    for step in (1, 2):
        log(writer, step, train__loss=step)
        writer.text("config", "x", step)
    writer.close()
    assert len(warnings) == 1
    assert "TensorBoard" in warnings[0]
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2]


def test_a_disk_that_fills_under_tensorboard(tmp_path, capfd):
    warnings: list[str] = []
    writer = RunWriter(tmp_path, warn=warnings.append)
    log(writer, 1, train__loss=1)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
    try:
        writer.text("config", "x" * 2000, 0)
        log(writer, 2, train__loss=2)
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert len(warnings) == 1
    assert capfd.readouterr().err == ""
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2]
    assert points(tmp_path, "train/loss") == [(1, 1.0)]
