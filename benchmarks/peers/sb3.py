"""stable-baselines3's own PPO, on Minigrid itself or on our batched world. Settings left out are SB3's defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from benchmarks.peers import flat_view


class Shared(BaseFeaturesExtractor):
    """128-128 shared by actor and critic, as our default network, over the raw numbers; with `net_arch` empty."""

    def __init__(self, observation_space: spaces.Space, width: int = 128) -> None:
        super().__init__(observation_space, features_dim=width)
        parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
        numbers = sum(get_flattened_obs_dim(part) for part in parts)
        self.layers = nn.Sequential(nn.Linear(numbers, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    def forward(self, obs: Tensor | dict[str, Tensor]) -> Tensor:
        parts = [part.flatten(1) for part in obs.values()] if isinstance(obs, dict) else [obs]
        return self.layers(torch.cat(parts, 1))


NETWORKS: dict[str, dict[str, Any]] = {
    "64-64": {"net_arch": [64, 64]},  # what "MlpPolicy" is by default: two separate networks
    "shared 128-128": {"net_arch": [], "features_extractor_class": Shared},
}


def batched_world(env: str, copies: int) -> VecEnv:
    """Our compiled world through our adapter."""
    from agents.vec_env import GymnasiumVecEnv
    from envs import vector

    return GymnasiumVecEnv(vector.make(env, copies))


def make(
    env: str,
    copies: int,
    world: Literal["Minigrid", "ours"] = "Minigrid",
    network: str = "64-64",
    **settings: Any,
) -> Callable[[int], object]:
    """A function that trains for a number of steps."""
    vec = flat_view.make_env(env, copies) if world == "Minigrid" else batched_world(env, copies)
    policy = "MlpPolicy" if world == "Minigrid" else "MultiInputPolicy"
    model = PPO(policy, vec, policy_kwargs=NETWORKS[network], seed=0, device="cpu", **settings)
    return lambda steps: model.learn(steps, reset_num_timesteps=False)
