"""Our PPO beside stable-baselines3's with the same hyper-parameters: is the difference inside the margin?

Hyper-parameters are rl-baselines3-zoo's for the two tasks. Three arms: SB3's PPO and ours on SB3's own vector
environment, and (CartPole) ours on Gymnasium's through our adapter. Ten seeds, 100 evaluation episodes of the final
policy. The margin was chosen before the runs: a tenth of the task's range (CartPole: 0 to 500; MountainCarContinuous:
about 0 to 100).

    make study-sb3
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from sandbox.statistics import difference, interval, verdict
from studies import _run

TASKS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "steps": 50_000, "copies": 8, "normalise": False, "margin": 50.0,
        "ppo": {"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20, "ent_coef": 0.0,
                "learning_rate": 1e-3, "clip_range": 0.2},
    },
    "MountainCarContinuous-v0": {
        "steps": 20_000, "copies": 1, "normalise": True, "margin": 10.0,
        "ppo": {"n_steps": 8, "batch_size": 256, "gae_lambda": 0.9, "gamma": 0.9999, "n_epochs": 10,
                "ent_coef": 0.00429, "learning_rate": 7.77e-5, "clip_range": 0.1, "max_grad_norm": 5, "vf_coef": 0.19,
                "use_sde": True, "policy_kwargs": {"log_std_init": -3.29, "ortho_init": False}},
    },
}  # fmt: skip
ARMS = {"CartPole-v1": ["sb3", "ours", "ours, own adapter"], "MountainCarContinuous-v0": ["sb3", "ours"]}


def train(task: str, arm: str, seed: int) -> dict[str, Any]:
    """Mean return over 100 episodes of the final policy."""
    import warnings

    from stable_baselines3 import PPO as SB3PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import VecNormalize

    from agents.learners.ppo import PPO
    from agents.vec_env import GymnasiumVecEnv
    from envs import vector

    warnings.simplefilter("ignore")
    settings = TASKS[task]
    env: Any = make_vec_env(task, settings["copies"], seed=seed)
    if arm == "ours, own adapter":
        env = GymnasiumVecEnv(vector.make(task, settings["copies"]))
    if settings["normalise"]:
        env = VecNormalize(env)
    learner = SB3PPO if arm == "sb3" else PPO
    model = learner("MlpPolicy", env, seed=seed, device="cpu", **settings["ppo"])
    model.learn(settings["steps"])
    judge: Any = make_vec_env(task, 10, seed=10_000 + seed)
    if settings["normalise"]:
        judge = VecNormalize(judge, training=False, norm_reward=False)
        judge.obs_rms = env.obs_rms
    returns, _ = evaluate_policy(model, judge, n_eval_episodes=100, return_episode_rewards=True)
    return {"task": task, "arm": arm, "seed": seed, "return": float(np.mean(returns))}


def compare(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per task and arm; arms of ours with their difference from SB3 and the verdict at the task's margin."""
    rows = []
    for task, arms in ARMS.items():
        scores = {arm: np.array([a["return"] for a in answers if (a["task"], a["arm"]) == (task, arm)]) for arm in arms}
        for arm in arms:
            iqm = interval(scores[arm])
            row = {"task": task, "arm": arm, "n": len(scores[arm]), "iqm": iqm.value, "low": iqm.low, "high": iqm.high}
            if arm != "sb3":
                apart = difference(scores[arm], scores["sb3"])
                margin = TASKS[task]["margin"]
                row |= {"difference": apart.value, "difference_low": apart.low, "difference_high": apart.high}
                row |= {"margin": margin, "verdict": verdict(arm, "sb3", apart, margin=margin)}
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    work = [(task, arm, seed) for task, arms in ARMS.items() for arm in arms for seed in range(options.seeds)]
    rows = compare(answers := _run.in_processes(train, work, options.jobs))
    for row in rows:
        print(row)
    print(_run.write("sb3_equivalence", "make study-sb3", {"rows": rows, "runs": answers, "tasks": TASKS}))


if __name__ == "__main__":
    main()
