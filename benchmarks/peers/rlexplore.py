"""stable-baselines3's PPO with a reward of RLeXplore (package rllte-core), joined as RLeXplore's own notebook does it.

The recipe (RLE-Foundation/RLeXplore, `2 rlexplore_with_sb3.ipynb`, on-policy part) is a callback. After each step the
reward module watches the transition; when a rollout is complete, it computes the bonus (and learns), which is added to
the buffer's advantages and returns. SB3 has made those before, so a bonus reaches the step that earned it and no
earlier one: it is never discounted or bootstrapped. As in the notebook, `episode_starts` stand in for the ends of
episodes (one step late), and the successor of an episode's last step is the next episode's first view. Left out: a
`print` in each rollout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from rllte.xplore import reward  # type: ignore[import-not-found]
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.peers import flat_view


class AddBonus(BaseCallback):
    """Adds a reward module's bonus to advantages and returns at the end of each rollout."""

    def __init__(self, bonus: Any) -> None:
        super().__init__()
        self.bonus = bonus

    def _on_step(self) -> bool:
        seen = self.locals
        rewards, dones = torch.as_tensor(seen["rewards"]), torch.as_tensor(seen["dones"])
        actions, new_obs = torch.as_tensor(seen["actions"]), torch.as_tensor(seen["new_obs"])
        self.bonus.watch(seen["obs_tensor"], actions, rewards, dones, dones, new_obs)
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
        obs = torch.as_tensor(buffer.observations)
        dones = torch.as_tensor(buffer.episode_starts)
        samples = {
            "observations": obs,
            "actions": torch.as_tensor(buffer.actions),
            "rewards": torch.as_tensor(buffer.rewards),
            "terminateds": dones,
            "truncateds": dones,
            "next_observations": torch.cat([obs[1:], torch.as_tensor(self.locals["new_obs"])[None]]),
        }
        added = self.bonus.compute(samples, sync=True).numpy()
        buffer.advantages += added
        buffer.returns += added


def make(env: str, copies: int, bonus: Literal["RND", "ICM", "E3B", "RE3"], **settings: Any) -> Callable[[int], object]:
    """A function that trains for a number of steps; the reward module has its own defaults."""
    vec: VecEnv = flat_view.make_env(env, copies)
    callback = AddBonus(getattr(reward, bonus)(vec, device="cpu"))
    model = PPO("MlpPolicy", vec, seed=0, device="cpu", **settings)
    return lambda steps: model.learn(steps, callback=callback, reset_num_timesteps=False)
