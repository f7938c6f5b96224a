"""Collapse: told from health on real features, as a verb, as scalars with an alarm, and in the projector."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from agents import collapse
from agents.rollout import Rollout, flatten_obs, map_obs
from sandbox import _encoders
from sandbox._walk import walk
from sandbox.config import Experiment, build
from sandbox.files import read_rows
from sandbox.metrics import RunWriter
from sandbox.plan import plan
from sandbox.representation import FRAMES, Watch, excerpt

Call = Callable[..., Any]


def test_features_that_are_only_pulled_together_collapse() -> None:
    """On the way from first weights to a point the verdict passes from healthy over collapsing to collapsed."""
    experiment = build(Experiment, {"agent": "ppo+inverse", "world": {"id": "DeepSea-v0"}, "steps": 10_000}, "here")
    walked, of = walk(experiment.world)
    plan_, obs = plan(experiment), flatten_obs(walked.obs)
    first, encoder = (_encoders.untrained(plan_, of) for _ in range(2))
    other = _encoders.untrained(plan_, of, seed=1)

    def measured(one: nn.Module) -> dict[str, float]:
        return collapse.spread(_encoders.features(one, obs))

    assert collapse.verdict(measured(other), measured(first)) == "healthy"
    start, follow = collapse.following(walked.done)
    optimiser = torch.optim.Adam(encoder.parameters(), 1e-3)
    words = []
    for step in range(121):
        if step % 20 == 0:
            words.append(collapse.verdict(measured(encoder), measured(first)))
        index = torch.randint(len(start), (256,), generator=torch.Generator().manual_seed(step))
        z, z_next = (encoder(map_obs(lambda x, i=where[index]: x[i], obs)) for where in (start, follow))
        optimiser.zero_grad()
        (z - z_next).square().mean().backward()
        optimiser.step()
    assert words[0] == "healthy"
    assert words[-1] == "collapsed"
    order = ["healthy", "collapsing", "collapsed"]
    assert words == sorted(words, key=order.index)


# ---------------------------------------------------------------------- the verb


@pytest.fixture
def run(sandbox: Call, small: list[str]) -> Path:
    answer = sandbox("train", "ppo+inverse", "--env", "DeepSea-v0", "--steps", 256, *small)
    assert answer.code == 0, answer.err
    return next(Path("runs").rglob("seed-0")).resolve()


def test_a_diagnosis_stands_beside_the_untrained_encoder(sandbox: Call, run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    answer = sandbox("diagnose", run, "--format", "json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["verdict"] == "healthy"
    assert set(found["trained"]) == set(found["untrained"]) == set(found["references"])
    assert found["trained"] != found["untrained"]
    assert found["references"]["normalised_std"] == "1/sqrt(D) = 0.088"
    assert found["lidar_groups"] == "100 groups of 10 frames in a row of one episode"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    rows = list(csv.DictReader(io.StringIO(sandbox("diagnose", run, "--format", "csv").out)))
    assert [row["measure"] for row in rows] == list(found["references"])
    table = sandbox("diagnose", run)
    assert table.out.splitlines()[-1] == "ppo+inverse: healthy"
    assert "diagnosed in" in table.err


def test_an_encoder_of_constants_is_called_collapsed(sandbox: Call, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = _encoders.trained

    def constant(*args: Any) -> nn.Module:
        encoder = trained(*args)
        for parameter in encoder.parameters():
            nn.init.constant_(parameter, 0.5 if parameter.dim() == 1 else 0.0)  # the bias alone is left
        return encoder

    monkeypatch.setattr(_encoders, "trained", constant)
    found = json.loads(sandbox("diagnose", run, "--format", "json").out)
    assert found["verdict"] == "collapsed"
    assert found["trained"]["normalised_std"] == pytest.approx(0, abs=1e-9)
    assert sandbox("diagnose", run).out.splitlines()[-1] == "ppo+inverse: collapsed"


# ---------------------------------------------------------------------- while it learns


def learner(encoder: nn.Module, steps: int = 64, copies: int = 8) -> Any:
    """What a watch looks at: a policy's encoder and the last rollout."""
    obs = torch.randn(steps, copies, 6, generator=torch.Generator().manual_seed(0))
    flags, zeros = torch.zeros(steps, copies, dtype=torch.bool), torch.zeros(steps, copies)
    rollout = Rollout(obs, zeros.long(), obs, zeros, flags, flags)
    return SimpleNamespace(policy=SimpleNamespace(features_extractor=encoder), rollout=rollout, num_timesteps=512)


def test_a_collapse_raises_the_alarm_and_warns_once() -> None:
    torch.manual_seed(0)
    told: list[str] = []
    model = learner(nn.Sequential(nn.Linear(6, 16), nn.ReLU()))
    watch = Watch(model, told.append)
    found = watch(model)
    assert found["alarm"] == 0.0
    assert found["rank_share"] == found["std_share"] == 1.0
    assert told == []
    nn.init.zeros_(model.policy.features_extractor[0].weight)
    nn.init.ones_(model.policy.features_extractor[0].bias)
    assert watch(model)["alarm"] == watch(model)["alarm"] == 1.0
    assert len(told) == 1
    assert "has collapsed by step 512: of the untrained encoder's rank 0% are left" in told[0]


def test_before_the_first_rollout_there_is_nothing_to_see() -> None:
    model = learner(nn.Linear(6, 4))
    model.rollout = None
    assert Watch(model, print)(model) == {}


@pytest.mark.parametrize(("steps", "copies"), [(128, 64), (128, 8), (5000, 3), (7, 1000)])
def test_an_excerpt_is_whole_histories_of_at_most_2048_frames(steps: int, copies: int) -> None:
    place = torch.arange(steps * copies).reshape(steps, copies)
    flags, zeros = torch.zeros(steps, copies, dtype=torch.bool), torch.zeros(steps, copies)
    obs, done = excerpt(Rollout(place, zeros, place, zeros, flags, flags))
    assert isinstance(obs, Tensor)
    assert FRAMES // 2 < done.numel() <= FRAMES or done.numel() == steps * copies
    assert torch.equal(obs % copies, (obs % copies)[:1].expand_as(obs))
    assert torch.equal(obs // copies, torch.arange(len(obs))[:, None].expand_as(obs))


def test_looking_takes_no_random_numbers_and_changes_no_mode() -> None:
    model = learner(nn.Sequential(nn.Linear(6, 16), nn.Dropout()).train())
    watch = Watch(model, print)
    state = torch.get_rng_state()
    assert watch(model) == watch(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.policy.features_extractor.training


def test_an_agent_with_an_objective_logs_its_representation_at_the_evaluations(run: Path) -> None:
    rows = [row for row in read_rows(run / "metrics.jsonl") if "representation/rankme" in row]
    assert [row["step"] for row in rows] == [128, 256]  # evaluations at 0 (no rollout yet), 128 and the end
    names = {"rankme", "rankme_centred", "rankme_normalised", "lidar", "participation_ratio", "normalised_std"}
    names |= {"contrast_accuracy", "rank_share", "std_share", "alarm"}
    assert all({f"representation/{name}" for name in names} <= set(row) for row in rows)


def test_a_run_cut_after_its_last_step_measures_no_second_time(sandbox: Call, run: Path) -> None:
    """Its rollout is gone then: what is measured of it stands before the checkpoint."""
    metrics = (run / "metrics.jsonl").read_bytes()
    (run / "result.json").unlink()
    (run / "projector_config.pbtxt").unlink()
    assert sandbox("resume", run).code == 0
    assert (run / "metrics.jsonl").read_bytes() == metrics
    assert (run / "projector_config.pbtxt").exists()


def test_one_without_an_objective_does_not(sandbox: Call, small: list[str]) -> None:
    assert sandbox("train", "ppo", "--env", "DeepSea-v0", "--steps", 256, *small).code == 0
    run = next(Path("runs").rglob("seed-0"))
    assert "representation/" not in (run / "metrics.jsonl").read_text()
    assert not (run / "projector").exists()


# ---------------------------------------------------------------------- the projector


def served(folder: Path, route: str, **query: str) -> Any:
    """What TensorBoard's projector answers for the runs below `folder`."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    plugin = ProjectorPlugin(TBContext(logdir=str(folder), multiplexer=multiplexer, data_provider=provider))
    response = Client(plugin.get_plugin_apps()[route]).get(route, query_string=query)
    assert response.status_code == 200, response.text
    return response


def test_tensorboard_shows_the_features_with_the_worlds_labels(run: Path) -> None:
    root = run.parents[2]
    name = run.relative_to(root).as_posix()
    assert served(root, "/runs").json == [name]
    info = served(root, "/info", run=name).json["embeddings"][0]
    assert (info["tensorName"], info["tensorShape"]) == ("features", [2000, 128])
    points = np.frombuffer(served(root, "/tensor", run=name, name="features").data, np.float32)
    assert points.size == 2000 * 128
    lines = served(root, "/metadata", run=name, name="features").text.splitlines()
    assert len(lines) == 2001
    assert lines[0].split("\t") == ["episode", "reward", "row", "column", "on_path", "oracle"]
    assert {len(line.split("\t")) for line in lines} == {6}


def test_a_second_embedding_replaces_the_first_and_a_bad_disk_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    writer = RunWriter(tmp_path, warn=told.append)
    columns = {"a": np.arange(3.0), "b": np.zeros(3)}
    for _ in range(2):
        writer.embedding("features", np.eye(3), columns)
    assert (tmp_path / "projector/features.tsv").read_text() == "1\t0\t0\n0\t1\t0\n0\t0\t1\n"
    assert (tmp_path / "projector/labels.tsv").read_text() == "a\tb\n0\t0\n1\t0\n2\t0\n"
    assert told == []
    writer.folder = tmp_path / "metrics.jsonl"  # a file: no folder can be made in it
    writer.embedding("features", np.eye(3), columns)
    assert len(told) == 1 and "no projector" in told[0]
    writer.close()
