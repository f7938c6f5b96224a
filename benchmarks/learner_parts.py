"""Where the default loop's time goes: the least of many calls of each part, in microseconds, on one thread.

The least is what other processes disturb least; it flatters what does not fit the cache. Made for benchmarks/NOTES.md.

    python -m benchmarks.learner_parts [--env MiniGrid-MultiRoom-N6-v0]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from agents.learners._actor import Actor
from agents.learners._gae import advantages
from benchmarks.ours.default import learner

CALLS = 200


def least(function: Callable[[], Any]) -> float:
    """Microseconds of the quickest of `CALLS` calls."""
    spent = []
    for _ in range(CALLS):
        start = time.perf_counter()
        function()
        spent.append(time.perf_counter() - start)
    return 1e6 * min(spent)


def parts(model: Any) -> dict[str, Callable[[], Any]]:
    """Each part of a rollout and an update, on the data of the last rollout."""
    policy, data, env = model.policy, model.rollout_buffer, model.env
    obs = {name: torch.as_tensor(value) for name, value in model._last_obs.items()}
    actor = Actor(policy, env.num_envs)
    actions, values, log_probs = actor.act(obs)
    _, rewards, dones, infos = env.step(actions.numpy())
    quiet = np.zeros_like(dones)
    index = next(data.minibatches(model.batch_size))
    batch = {name: data.take(value, index) for name, value in data.obs.items()}
    rollout = model.rollout
    flat = torch.zeros(rollout.shape)
    raw = model.intrinsic.reward(rollout)

    def store() -> None:
        data.step = 0
        data.add_step(obs, actions, values, log_probs, rewards, quiet, infos)

    def gradient() -> None:
        loss = model._losses(index, 0.2)["loss"]
        if model._backward is None:  # by autograd
            policy.optimizer.zero_grad()
            loss.backward()
        else:
            model._backward.backward()

    def forward() -> Any:
        return policy.outputs(batch) if model._backward is None else model._backward.outputs(index)

    return {
        "acting, a step": lambda: actor.act(obs),
        "adapter and world, a step": lambda: env.step(actions.numpy()),
        "storing a step": store,
        "SB3's episode statistics, a step": lambda: model._update_info_buffer(infos, dones),
        "network forward, a minibatch": forward,
        "loss of a minibatch": lambda: model._losses(index, 0.2),
        "loss and gradient": gradient,
        "update (loss, gradient, clipping, Adam)": lambda: model._step(model._losses(index, 0.2)["loss"]),
        "advantages of one head, a rollout": lambda: advantages(flat, flat, flat, rollout.done, 0.99, 0.95),
        "scaling of the bonus, a rollout": lambda: model.intrinsic_scale.scale(raw),
        "bonus, a rollout": lambda: model.intrinsic.reward(rollout),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="MiniGrid-MultiRoom-N6-v0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = learner(options.env, "ppo+counts")
    model.learn(100_000)
    for name, function in parts(model).items():
        print(f"{name:42} {least(function):9.1f}")


if __name__ == "__main__":
    main()
