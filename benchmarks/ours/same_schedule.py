"""Our PPO with the peer's schedule and its standard policy: separate 64-64 tanh networks over 151 raw numbers.

A bonus gets an encoder of the peer's size (`ObservationEncoder` of rllte has layers of 256 and 128 or 32 units). What
stands on it stays ours: `rnd`'s predictor has two layers more than the peer's, and `re3` remembers 2,048 views of all
copies together, the peer 1,000 of each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.encoders.flat import Flat
from agents.encoders.mlp import Mlp
from agents.learners.ppo import PPO
from agents.vec_env import GymnasiumVecEnv
from benchmarks.ours import default
from envs import vector
from sandbox import registry

countable = default.countable  # see `contender.py`: the policy acts by compiled code here too

# rnd adds a linear layer of 128 to its encoder
ENCODER = {"rnd": (256,)} | dict.fromkeys(("icm", "disagreement", "e3b", "re3", "ride"), (256, 128))
ENCODER |= dict.fromkeys(("pseudo_counts", "ngu"), (256, 32))


def with_encoder(bonus: str, **options: Any) -> Callable[[Context], IntrinsicReward]:
    """The bonus with an encoder of the peer's size in place of the policy's, which has no weights here."""

    def build(context: Context) -> IntrinsicReward:
        def encoder() -> Mlp:
            return Mlp(context.observation_space, hidden=ENCODER[bonus])

        return registry.load("curiosity", bonus)(dataclasses.replace(context, make_encoder=encoder), **options)

    return build


def make(
    env: str, copies: int, n_steps: int, batch_size: int, n_epochs: int, bonus: str | None = None
) -> Callable[[int], object]:
    """A function that trains for a number of steps."""
    policy: dict[str, Any] = {"net_arch": [64, 64], "features_extractor_class": Flat}
    policy |= {"optimizer_class": Adam, "optimizer_kwargs": {"eps": 1e-5}}
    model = PPO(
        "MultiInputPolicy",
        GymnasiumVecEnv(vector.make(env, copies)),
        n_steps=n_steps,
        batch_size=batch_size,
        n_epochs=n_epochs,
        intrinsic=with_encoder(bonus) if bonus else None,
        policy_kwargs=policy,
        seed=0,
        device="cpu",
    )
    return lambda steps: model.learn(steps, reset_num_timesteps=False)
