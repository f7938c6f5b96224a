"""The learner from Python: worlds, a bonus and an objective without the command line, and PPO in the place of SB3's.

    python examples/train_api.py

Runs made this way have no run folder, no checkpoints and no report: for those use the command line.
"""

from __future__ import annotations

import numpy as np

from agents.curiosity.counts import Counts
from agents.encoders.mlp import Mlp
from agents.learners.ppo import PPO
from agents.objectives.inverse import InverseDynamics
from agents.vec_env import GymnasiumVecEnv
from envs import vector


def explore(steps: int = 100_000, size: int = 8, seed: int = 0) -> PPO:
    """PPO with a count bonus and an inverse-dynamics objective on 16 copies of DeepSea."""
    env = GymnasiumVecEnv(vector.make("DeepSea-v0", 16, size=size))
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=64,
        batch_size=128,
        n_epochs=2,
        learning_rate=2e-3,
        ent_coef=0.01,
        policy_kwargs={"features_extractor_class": Mlp, "net_arch": []},
        intrinsic=Counts,  # or functools.partial(Counts, episodic="none")
        objective=InverseDynamics,
        intrinsic_weight=0.5,
        seed=seed,
    )
    return model.learn(steps)


def mean_return(model: PPO, size: int = 8, episodes: int = 50, seed: int = 1) -> float:
    """Mean extrinsic return of the final policy; DeepSea's episodes all have `size` steps."""
    env = vector.make("DeepSea-v0", episodes, size=size)
    obs, total = vector.reset(env, seed), np.zeros(episodes)
    for _ in range(size):
        actions, _ = model.predict(obs)
        obs, rewards, *_ = env.step(actions)
        total += rewards
    return float(total.mean())


def drop_in(steps: int = 10_000) -> PPO:
    """The line that a user of stable-baselines3 writes, with this import instead of theirs."""
    return PPO("MlpPolicy", "CartPole-v1", seed=0).learn(steps)


if __name__ == "__main__":
    print(f"DeepSea: mean return {mean_return(explore()):.2f} (0.99 is the best)")
    drop_in()
