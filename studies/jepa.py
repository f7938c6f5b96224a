"""What each term of the latent world model keeps from collapse: `jepa` on random experience, a term left out at a time.

Published (Terver et al. 2026, two rooms in pixels, success of planning): 97 % with all terms, 1 % without the inverse
model, 47 % without variance, 46 % without covariance, 61 % without similarity. Here nothing plans. The encoder learns
from random steps of PixelGoal (6 x 6 cells, a pixel each), where the agent follows actions, the goal stands still
within an episode, and a distractor moves by itself; then the agent's place is read from the features by logistic
regression on unseen levels, and their spread is put beside that of the untrained encoder (`agents/collapse.py`).

    make study-jepa        studies/results/jepa.json and its page
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from agents import collapse
from agents.adam import Adam
from agents.context import Context
from agents.encoders import Encoder
from agents.objectives.jepa import JEPA
from agents.rollout import Rollout
from envs import vector
from sandbox import registry, statistics
from sandbox._readout import Parts, logistic_f1
from studies import _run

SEEDS, COPIES, STEPS, ROLLOUTS, EPOCHS = 10, 64, 64, 8, 20
HIDDEN = (64, 16)  # few features, so that what stands still and what moves compete for them
TERMS = ("variance", "covariance", "inverse")
SIMILARITIES = (12.0, 0.75)  # eb_jepa's and PLDM's
FACTORS = ("position", "goal", "distractor")


def walk(seed: int, stream: int) -> list[tuple[Rollout, torch.Tensor]]:
    """Rollouts of uniformly random actions, each with the factors [T, N, 6] of its views `obs`."""
    env, sequence = vector.make("PixelGoal-v0", COPIES, size=6, pixels=1), np.random.SeedSequence([seed, stream])
    obs, rng, seen = vector.reset(env, sequence), np.random.default_rng(sequence.spawn(1)[0]), []
    for _ in range(ROLLOUTS * STEPS):
        told = np.concatenate([env.labels()[name] for name in FACTORS], 1)  # type: ignore[attr-defined]
        actions = rng.integers(0, 4, COPIES)
        after, rewards, terminated, truncated, infos = env.step(actions)
        seen.append((obs, actions, infos.get("final_obs", after), rewards, terminated, truncated, told))
        obs = after
    parts = [torch.from_numpy(np.stack(part)).split(STEPS) for part in zip(*seen, strict=True)]
    return [(Rollout(o, a, n, r.float(), e, c), f) for o, a, n, r, e, c, f in zip(*parts, strict=True)]


def new_encoder(seed: int) -> tuple[Encoder, Context]:
    torch.manual_seed(seed)
    env = vector.make("PixelGoal-v0", 1, size=6, pixels=1)
    space = env.single_observation_space

    def make() -> Encoder:
        return registry.load("encoders", "mlp")(space, hidden=HIDDEN)

    return make(), Context(space, env.single_action_space, COPIES, make)


def learn(
    encoder: Encoder, context: Context, data: list[tuple[Rollout, torch.Tensor]], options: dict[str, float]
) -> None:
    objective = JEPA(context, **options)  # type: ignore[arg-type]
    optimiser = Adam([*encoder.parameters(), *objective.parameters()], 1e-3)
    index = torch.arange(STEPS).repeat_interleave(COPIES), torch.arange(COPIES).repeat(STEPS)
    for _ in range(EPOCHS):
        for rollout, _ in data:
            loss, _ = objective.loss(encoder, rollout, index)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


@torch.no_grad()
def measure(encoder: Encoder, data: list[tuple[Rollout, torch.Tensor]]) -> dict[str, Any]:
    """Spread of the features, and macro-F1 of each factor, read on copies that the reader was not fitted on."""
    z = torch.cat([encoder(rollout.obs.flatten(0, 1)).unflatten(0, rollout.shape) for rollout, _ in data])
    told = torch.cat([factors for _, factors in data])
    parts = [Parts(x[:, :32].flatten(0, 1), x[:, 32:48].flatten(0, 1), x[:, 48:].flatten(0, 1)) for x in (z, told)]
    f1 = logistic_f1(*parts)
    read = {name: (f1[2 * k] + f1[2 * k + 1]) / 2 for k, name in enumerate(FACTORS)}
    return read | {"spread": collapse.spread(z.flatten(0, 1))}


def one(seed: int) -> dict[str, Any]:
    """All variants with one seed: the same data, the same first weights."""
    data, unseen = walk(seed, 0), walk(seed, 1)
    untrained = measure(new_encoder(seed)[0], unseen)
    found = {"untrained": _with_share(untrained, untrained)}
    for similarity in SIMILARITIES:
        for term in (None, *TERMS):
            encoder, context = new_encoder(seed)
            learn(encoder, context, data, {"similarity": similarity} | ({term: 0.0} if term else {}))
            found[name_of(similarity, term)] = _with_share(measure(encoder, unseen), untrained)
    return {"seed": seed, "variants": found}


def name_of(similarity: float, term: str | None) -> str:
    return f"similarity {similarity:g}, " + (f"without {term}" if term else "all terms")


def _with_share(found: dict[str, Any], untrained: dict[str, Any]) -> dict[str, float]:
    share = min(collapse.shares(found["spread"], untrained["spread"]).values())
    return {name: round(found[name], 4) for name in FACTORS} | {"share": round(share, 4)}


def content(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows with IQM and interval of each measure, and the claim: each term against all terms."""
    variants = list(runs[0]["variants"])
    rows = [
        {"variant": v} | {m: _interval([r["variants"][v][m] for r in runs]) for m in (*FACTORS, "share")}
        for v in variants
    ]
    lines = [_line(runs, similarity, term) for similarity in SIMILARITIES for term in TERMS]
    settings = {"steps": ROLLOUTS * STEPS * COPIES, "updates": EPOCHS * ROLLOUTS, "features": HIDDEN[-1]}
    return {"settings": settings, "rows": rows, "lines": lines, "runs": runs}


def _line(runs: list[dict[str, Any]], similarity: float, term: str) -> dict[str, Any]:
    """Does leaving the term out cost the agent's place, and do the features collapse?"""
    whole, without = name_of(similarity, None), name_of(similarity, term)
    x, y = ([run["variants"][v]["position"] for run in runs] for v in (whole, without))
    level = 1 - 0.05 / (len(TERMS) * len(SIMILARITIES))
    text = statistics.verdict(f"position, {whole},", without, statistics.wide_difference(x, y, level=level))
    collapsed = sum(run["variants"][without]["share"] < collapse.COLLAPSED for run in runs)
    return {"text": text, "collapsed": collapsed, "of": len(runs), "variant": without}


def _interval(values: list[float]) -> dict[str, Any]:
    found = statistics.interval(values)
    return {"iqm": found.value, "low": found.low, "high": found.high}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    runs = _run.in_processes(one, [(seed,) for seed in range(options.seeds)], options.jobs)
    print(_run.write("jepa", "make study-jepa", content(runs)))


if __name__ == "__main__":
    main()
