"""PPO on two streams: equal to stable-baselines3 where it does the same, and right where it does more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecMonitor, VecNormalize
from torch import Tensor, nn
from torch.nn import functional as F

from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.encoders import Encoder
from agents.encoders.mlp import Mlp
from agents.faults import NonFinite
from agents.learners._policy import MlpPolicy
from agents.learners.ppo import PPO
from agents.objectives import Objective
from agents.rollout import Index, Rollout, map_obs
from agents.vec_env import GymnasiumVecEnv
from envs.deep_sea import DeepSea

SETTINGS: dict[str, Any] = {
    "n_steps": 64, "batch_size": 64, "n_epochs": 3, "ent_coef": 0.01, "gae_lambda": 0.9, "device": "cpu", "seed": 3,
}  # fmt: skip
WORLDS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"max_episode_steps": 20},  # ends of both kinds within a rollout
    "MountainCarContinuous-v0": {"max_episode_steps": 30},
}
VECTOR = spaces.Box(-1, 1, (3,), np.float32)


class Noise(gym.Env):
    """Draws observations, rewards and ends of both kinds; actions do nothing but must fit their space."""

    def __init__(self, obs: spaces.Space = VECTOR, actions: spaces.Space = spaces.Discrete(3), reward: float = 1.0):
        self.observation_space, self.action_space, self.reward = obs, actions, reward

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        end, either = self.np_random.random(2)
        reward = self.reward * self.np_random.normal()
        return self.observation_space.sample(), reward, end < 0.1, either < 0.1, {}


def noise(n: int = 2, **kwargs: Any) -> VecEnv:
    return DummyVecEnv([lambda: Noise(**kwargs)] * n)


def weights(model: SB3PPO) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def encoder_weights(model: PPO) -> list[Tensor]:
    return [p.detach().clone() for p in model.policy.features_extractor.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def assert_shared_weights_close(a: dict[str, Tensor], b: dict[str, Tensor], atol: float) -> None:
    names = [name for name in a if not name.startswith("intrinsic_value_net")]
    assert names == [name for name in b if not name.startswith("intrinsic_value_net")]
    for name in names:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=atol, msg=f"{name} differs")


def collect(model: SB3PPO) -> Any:
    """One rollout, without an update."""
    _, callback = model._setup_learn(10**6, None)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, n_rollout_steps=model.n_steps)  # type: ignore[arg-type]
    return model


class Zero(IntrinsicReward):
    def reward(self, rollout: Rollout) -> Tensor:
        return torch.zeros(rollout.shape)

    def update(self, rollout: Rollout) -> dict[str, float]:
        return {"seen": float(rollout.rewards.numel())}


class One(Zero):
    def reward(self, rollout: Rollout) -> Tensor:
        return torch.ones(rollout.shape)


# ---------------------------------------------------------------------- equal to stable-baselines3


def sb3_loss(model: SB3PPO, clip_vf: float | None) -> Tensor:
    """The loss of SB3's `train` on the first minibatch of its own buffer."""
    data = next(model.rollout_buffer.get(model.batch_size))
    actions = data.actions.long().flatten() if isinstance(model.action_space, spaces.Discrete) else data.actions
    values, log_prob, entropy = model.policy.evaluate_actions(data.observations, actions)
    assert entropy is not None
    advantage = (data.advantages - data.advantages.mean()) / (data.advantages.std() + 1e-8)
    ratio = torch.exp(log_prob - data.old_log_prob)
    assert ((ratio - 1).abs() > 0.2).any(), "the clipping is not exercised"
    policy_loss = -torch.min(advantage * ratio, advantage * torch.clamp(ratio, 0.8, 1.2)).mean()
    change = values.flatten() - data.old_values
    if clip_vf is not None:
        assert (change.abs() > clip_vf).any(), "the clipping of values is not exercised"
        assert (change.abs() < clip_vf).any()
    kept = change if clip_vf is None else torch.clamp(change, -clip_vf, clip_vf)
    value_loss = F.mse_loss(data.returns, data.old_values + kept)
    return policy_loss - model.ent_coef * entropy.mean() + model.vf_coef * value_loss


@pytest.mark.parametrize("clip_vf", [None, 1.0])
@pytest.mark.parametrize("env_id", WORLDS)
def test_initial_weights_and_the_gradient_of_the_loss_are_sb3s(env_id: str, clip_vf: float | None) -> None:
    models = []
    for cls in (SB3PPO, PPO):
        env = make_vec_env(env_id, 4, seed=3, env_kwargs=WORLDS[env_id])
        model = cls("MlpPolicy", env, clip_range_vf=clip_vf, **SETTINGS)
        initial = weights(model)
        collect(model)
        with torch.no_grad():  # the same small change of both policies, so that ratios differ from one
            g = torch.Generator().manual_seed(0)
            for parameter in model.policy.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=g))
        np.random.seed(0)  # noqa: NPY002
        models.append((model, initial))
    (theirs, their_initial), (ours, our_initial) = models
    assert their_initial.keys() == our_initial.keys()
    assert all(torch.equal(their_initial[name], our_initial[name]) for name in their_initial)

    np.random.seed(0)  # noqa: NPY002
    sb3_loss(theirs, clip_vf).backward()
    np.random.seed(0)  # noqa: NPY002
    index = next(ours.rollout_buffer.minibatches(ours.batch_size))  # type: ignore[attr-defined]
    ours._losses(index, 0.2)["loss"].backward()  # type: ignore[attr-defined]
    assert ours.rollout_buffer.truncated.any()  # type: ignore[attr-defined]
    for (name, a), (_, b) in zip(theirs.policy.named_parameters(), ours.policy.named_parameters(), strict=True):
        assert a.grad is not None
        assert a.grad.abs().sum() > 0
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-5, atol=1e-5, msg=f"{name} differs")


def trained(cls: type[SB3PPO], env: VecEnv, policy: str = "MlpPolicy", rollouts: int = 1, **kwargs: Any) -> SB3PPO:
    model = cls(policy, env, **SETTINGS | kwargs)
    return model.learn(rollouts * model.n_steps * env.num_envs)


@pytest.mark.parametrize("env_id", WORLDS)
def test_one_copy_learns_as_in_sb3_bit_for_bit(env_id: str) -> None:
    """Where a rollout has at most one time limit (several are valued in one batch, which rounds otherwise) and the
    loss no entropy term (whose gradient is summed in another order)."""

    def world() -> VecEnv:
        return make_vec_env(env_id, 1, seed=3)

    theirs, ours = (trained(cls, world(), rollouts=12, ent_coef=0.0) for cls in (SB3PPO, PPO))
    assert all(torch.equal(value, weights(ours)[name]) for name, value in weights(theirs).items())


@pytest.mark.parametrize("env_id", WORLDS)
def test_weights_after_an_update_are_sb3s(env_id: str) -> None:
    def world() -> VecEnv:
        return make_vec_env(env_id, 4, seed=3, env_kwargs=WORLDS[env_id])

    theirs, ours = trained(SB3PPO, world()), trained(PPO, world())
    assert_shared_weights_close(weights(theirs), weights(ours), atol=1e-6)
    assert not torch.equal(
        weights(ours)["value_net.weight"], weights(PPO("MlpPolicy", world(), **SETTINGS))["value_net.weight"]
    )
    obs = ours.observation_space.sample()
    assert np.allclose(theirs.predict(obs, deterministic=True)[0], ours.predict(obs, deterministic=True)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("actions", "obs", "policy"),
    [
        (spaces.MultiDiscrete([2, 3]), VECTOR, "MlpPolicy"),
        (spaces.MultiBinary(3), VECTOR, "MlpPolicy"),
        (spaces.Box(-1, 1, (2,), np.float32), VECTOR, "MlpPolicy"),
        (spaces.Box(-1, 1, (2, 2), np.float32), VECTOR, "MlpPolicy"),
        (spaces.Discrete(2), spaces.Discrete(4), "MlpPolicy"),
        (spaces.Discrete(2), spaces.MultiDiscrete([3, 2]), "MlpPolicy"),
        (spaces.Discrete(2), spaces.Dict({"a": VECTOR, "k": spaces.Discrete(3)}), "MultiInputPolicy"),
        (spaces.Discrete(2), spaces.Box(0, 255, (36, 36, 1), np.uint8), "CnnPolicy"),
    ],
    ids=str,
)
def test_every_space_learns_as_in_sb3(actions: spaces.Space, obs: spaces.Space, policy: str) -> None:
    kwargs: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 2, "rollouts": 2}
    if policy == "CnnPolicy":
        kwargs["policy_kwargs"] = {"features_extractor_kwargs": {"features_dim": 8}}
    theirs, ours = (trained(cls, noise(obs=obs, actions=actions), policy, **kwargs) for cls in (SB3PPO, PPO))
    assert_shared_weights_close(weights(theirs), weights(ours), atol=1e-5)


def test_state_dependent_exploration_learns_as_in_sb3() -> None:
    actions = spaces.Box(-1, 1, (2,), np.float32)
    theirs, ours = (trained(cls, noise(actions=actions), use_sde=True, sde_sample_freq=4) for cls in (SB3PPO, PPO))
    assert_shared_weights_close(weights(theirs), weights(ours), atol=1e-5)


def test_sb3s_wrappers_work_as_in_sb3() -> None:
    def world() -> VecEnv:
        return VecNormalize(VecMonitor(make_vec_env("CartPole-v1", 4, seed=3, env_kwargs=WORLDS["CartPole-v1"])))

    theirs, ours = trained(SB3PPO, world(), rollouts=2), trained(PPO, world(), rollouts=2)
    assert_shared_weights_close(weights(theirs), weights(ours), atol=1e-5)
    episodes = [[e["r"] for e in model.ep_info_buffer or ()] for model in (theirs, ours)]
    assert episodes[0] == episodes[1] != []


def test_target_kl_stops_where_sb3_stops() -> None:
    kwargs: dict[str, Any] = {"target_kl": 1e-4, "learning_rate": 3e-3, "n_epochs": 8}
    theirs, ours = (trained(cls, noise(), **kwargs) for cls in (SB3PPO, PPO))
    assert theirs._n_updates == ours._n_updates < 8
    assert_shared_weights_close(weights(theirs), weights(ours), atol=1e-6)


# ---------------------------------------------------------------------- callbacks and the log


class Memory(KVWriter):
    """Keeps every line of the log."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, Any]]] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        self.lines.append((step, dict(key_values)))

    def close(self) -> None:
        pass


def logged(cls: type[SB3PPO], **kwargs: Any) -> list[tuple[int, dict[str, Any]]]:
    memory, env = Memory(), make_vec_env("MountainCarContinuous-v0", 2, env_kwargs={"max_episode_steps": 20})
    model = cls("MlpPolicy", env, clip_range_vf=0.2, **SETTINGS | kwargs)
    model.set_logger(Logger(None, [memory]))
    model.learn(3 * 128)
    return memory.lines


def tags(lines: list[tuple[int, dict[str, Any]]]) -> set[str]:
    return {tag for _, line in lines for tag in line}


def test_log_tags_are_sb3s_and_ours_have_their_own_prefix() -> None:
    theirs = tags(logged(SB3PPO))
    assert {"train/loss", "rollout/ep_rew_mean", "time/fps"} <= theirs
    assert tags(logged(PPO)) == theirs
    more = tags(logged(PPO, intrinsic=Zero, objective=Pull)) - theirs
    assert more == {
        "train/intrinsic_value_loss", "curiosity/weight", "curiosity/seen", "curiosity/reward_mean",
        "curiosity/reward_max", "curiosity/scaled_reward_mean", "representation/loss", "representation/size",
    }  # fmt: skip


def test_every_update_is_logged_at_its_own_step_the_last_one_too() -> None:
    lines = logged(PPO)
    assert [(step, line["train/n_updates"]) for step, line in lines] == [(128, 3), (256, 6), (384, 9)]
    assert logged(SB3PPO)[-1][1]["train/n_updates"] == 6  # what is mended here


class Watch(BaseCallback):
    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.steps, self.starts, self.ends, self.stop_after = 0, 0, 0, stop_after

    def _on_rollout_start(self) -> None:
        self.starts += 1

    def _on_step(self) -> bool:
        self.steps += 1
        assert self.locals["rewards"].shape == (2,)
        assert len(self.locals["infos"]) == 2
        return self.steps != self.stop_after

    def _on_rollout_end(self) -> None:
        self.ends += 1


def test_callbacks_are_called_as_in_sb3() -> None:
    counts = []
    for cls in (SB3PPO, PPO):
        watch, stopped = Watch(), Watch(stop_after=70)
        model = cls("MlpPolicy", noise(), **SETTINGS).learn(256, callback=watch)
        early = cls("MlpPolicy", noise(), **SETTINGS).learn(256, callback=stopped)
        sums = [(w.steps, w.starts, w.ends) for w in (watch, stopped)]
        counts.append((*sums, model.num_timesteps, early.num_timesteps))
    assert counts[0] == counts[1] == ((128, 2, 2), (70, 2, 1), 256, 140)


def test_eval_callback_evaluates_on_its_own_environment() -> None:
    def learned(callback: BaseCallback | None) -> dict[str, Tensor]:
        return weights(PPO("MlpPolicy", make_vec_env("CartPole-v1", 2), **SETTINGS).learn(256, callback=callback))

    evaluate = EvalCallback(make_vec_env("CartPole-v1", 2, seed=0), n_eval_episodes=3, eval_freq=50, verbose=0)
    watched, alone = learned(evaluate), learned(None)
    assert evaluate.n_calls == 128
    assert evaluate.best_mean_reward >= 8
    assert all(torch.equal(value, watched[name]) for name, value in alone.items())  # training saw nothing of it


def test_predict_with_an_encoder_that_reads_raw_observations() -> None:
    space = spaces.Dict({"a": VECTOR, "k": spaces.Discrete(3)})
    model = PPO(MlpPolicy, noise(obs=space), policy_kwargs={"features_extractor_class": Mlp}, **SETTINGS)
    obs: Any = model.env.reset()  # type: ignore[union-attr]
    actions, _ = model.predict(obs, deterministic=True)
    pi, _ = model.policy._latents({k: torch.as_tensor(v) for k, v in obs.items()}, detach_encoder=False)
    assert actions.tolist() == model.policy.action_net(pi).argmax(-1).tolist()
    one, _ = model.predict({"a": obs["a"][0], "k": obs["k"][0]}, deterministic=True)
    assert one == actions[0]


# ---------------------------------------------------------------------- the second stream


def test_a_bonus_changes_neither_initial_weights_nor_the_first_rollout() -> None:
    plain, curious = (PPO("MlpPolicy", noise(), intrinsic=bonus, **SETTINGS) for bonus in (None, Zero))
    assert_shared_weights_close(weights(plain), weights(curious), atol=0.0)
    assert set(weights(curious)) - set(weights(plain)) == {"intrinsic_value_net.weight", "intrinsic_value_net.bias"}
    rollouts = [collect(PPO("MlpPolicy", noise(), intrinsic=b, **SETTINGS)).rollout for b in (None, Zero)]
    assert torch.equal(rollouts[0].actions, rollouts[1].actions)
    assert torch.equal(rollouts[0].rewards, rollouts[1].rewards)


def test_a_bonus_of_zero_that_is_expected_leaves_the_shared_weights_as_without_it() -> None:
    def learn(bonus: Callable[[Context], IntrinsicReward] | None) -> PPO:
        model = PPO("MlpPolicy", noise(), intrinsic=bonus, intrinsic_weight=1.0, **SETTINGS)
        if bonus is not None:
            nn.init.zeros_(model.policy.intrinsic_value_net.weight)  # the head expects no bonus from the start
        return model.learn(3 * 128)

    plain, curious = learn(None), learn(Zero)
    assert_shared_weights_close(weights(plain), weights(curious), atol=1e-7)
    assert curious.rollout_buffer.advantages[1].abs().max() == 0


@pytest.mark.parametrize("clip_range_vf", [None, 0.2])
def test_a_bonus_of_weight_zero_is_plain_ppo(clip_range_vf: float | None) -> None:
    """Whatever it pays: its value head must not shape what it shares with the others."""
    kwargs: dict[str, Any] = SETTINGS | {"clip_range_vf": clip_range_vf}
    plain = PPO("MlpPolicy", noise(), **kwargs).learn(3 * 128)
    curious = PPO("MlpPolicy", noise(), intrinsic=One, intrinsic_weight=0.0, **kwargs).learn(3 * 128)
    assert_shared_weights_close(weights(plain), weights(curious), atol=0.0)
    assert curious.rollout_buffer.advantages[1].abs().max() > 0.1
    fresh = PPO("MlpPolicy", noise(), intrinsic=One, intrinsic_weight=0.0, **kwargs)
    assert torch.equal(curious.policy.intrinsic_value_net.weight, fresh.policy.intrinsic_value_net.weight)


def test_the_bonuss_episodes_end_where_learning_resets_the_environment_and_only_there() -> None:
    class Told(Zero):
        ended = 0

        def new_episodes(self) -> None:
            self.ended += 1

    model = PPO("MlpPolicy", make_vec_env("CartPole-v1", 2, seed=0), n_steps=8, batch_size=16, seed=0, intrinsic=Told)
    bonus: Any = model.intrinsic
    ended = []
    for fresh in (True, False, True):
        model.learn(16, reset_num_timesteps=fresh)
        ended.append(bonus.ended)
    assert ended == [1, 1, 2]


def test_a_bonus_moves_the_policy_by_its_weight() -> None:
    """The mixed advantage is extrinsic + weight x intrinsic."""
    model = collect(PPO("MlpPolicy", noise(), intrinsic=One, intrinsic_weight=0.25, **SETTINGS))
    store: Any = model.rollout_buffer
    torch.testing.assert_close(store.mixed, store.advantages[0] + 0.25 * store.advantages[1])
    assert store.advantages[1].abs().max() > 0.1
    torch.testing.assert_close(store.returns, store.advantages + store.values)


class Chain(gym.Env):
    """n cells in a row and one action, forward; reaching the end pays 2 and ends the episode."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.observation_space, self.action_space = spaces.Box(0, 1, (n + 1,), np.float32), spaces.Discrete(1)

    def view(self) -> np.ndarray:
        return np.eye(self.n + 1, dtype=np.float32)[self.at]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.at = 0
        return self.view(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.at += 1
        end = self.at == self.n
        return self.view(), 2.0 * end, end, False, {}


class AtTheEnd(Zero):
    """1 for reaching the last cell: a state that is only ever a successor."""

    def reward(self, rollout: Rollout) -> Tensor:
        assert isinstance(rollout.next_obs, Tensor)
        return rollout.next_obs[..., -1].clone()


def tabular(env: VecEnv, updates: int, **kwargs: Any) -> PPO:
    """A policy whose values are a table (linear on one-hot states), trained until they have settled."""
    settings: dict[str, Any] = {"n_steps": 30, "batch_size": 60, "n_epochs": 30, "learning_rate": 0.05}
    settings |= {"max_grad_norm": 1e9, "policy_kwargs": {"net_arch": []}, "gae_lambda": 1.0, "device": "cpu", "seed": 0}
    model = PPO("MlpPolicy", env, **settings | kwargs)
    model.intrinsic_scale.scale = lambda rewards: rewards  # type: ignore[method-assign]  # values in plain units
    return model.learn(updates * 60)


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("episodic", [True, False])
def test_intrinsic_values_on_a_chain(n: int, episodic: bool) -> None:
    g, gamma = 0.9, 0.8
    model = tabular(
        DummyVecEnv([lambda: Chain(n)] * 2), 40, intrinsic=AtTheEnd, intrinsic_gamma=g, gamma=gamma,
        intrinsic_episodic=episodic,
    )  # fmt: skip
    with torch.no_grad():
        extrinsic, intrinsic = model.policy.values(torch.eye(n + 1)[:n])
    # k steps lie before the one that pays; without episodes it pays again every n steps, for ever.
    for cell in (0, n // 2, n - 1):
        wanted = g ** (n - 1 - cell) / (1.0 if episodic else 1 - g**n)
        assert intrinsic[cell].item() == pytest.approx(wanted, rel=0.05)
        assert extrinsic[cell].item() == pytest.approx(2 * gamma ** (n - 1 - cell), rel=0.05)


class Still(gym.Env):
    """One state, reward 1 at every step; it ends itself after `length` steps where it has one."""

    observation_space, action_space = spaces.Box(0, 1, (1,), np.float32), spaces.Discrete(1)

    def __init__(self, length: int | None = None) -> None:
        self.length = length

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        return np.ones(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.t += 1
        return np.ones(1, np.float32), 1.0, self.t == self.length, False, {}


def test_a_time_limit_is_bootstrapped_and_an_end_is_not() -> None:
    gamma, length = 0.9, 5

    def value(make: Callable[[], gym.Env]) -> float:
        model = tabular(DummyVecEnv([make] * 2), 40, gamma=gamma)
        return model.policy.values(torch.ones(1, 1)).item()

    limited = value(lambda: gym.wrappers.TimeLimit(Still(), length))
    assert limited == pytest.approx(1 / (1 - gamma), rel=0.03)
    ended = np.mean([(1 - gamma**k) / (1 - gamma) for k in range(1, length + 1)])  # the state is met at every age
    assert value(lambda: Still(length)) == pytest.approx(ended, rel=0.03)


def literal_advantages(
    rewards: np.ndarray, values: np.ndarray, following: np.ndarray, ended: np.ndarray, rate: float, gamma: float
) -> np.ndarray:
    """sum_l rate^l delta_{t+l} up to the step that ends, in float64."""
    out = np.zeros(rewards.shape)
    for n in range(rewards.shape[1]):
        for t in range(len(rewards)):
            for k in range(t, len(rewards)):
                out[t, n] += rate ** (k - t) * (rewards[k, n] + gamma * following[k, n] - values[k, n])
                if ended[k, n]:
                    break
    return out


@pytest.mark.parametrize("episodic", [True, False])
def test_advantages_of_a_constant_bonus_are_textbook_gae(episodic: bool) -> None:
    g, lambda_ = 0.95, SETTINGS["gae_lambda"]
    model: Any = PPO(
        "MlpPolicy", noise(3), intrinsic=One, intrinsic_gamma=g, intrinsic_episodic=episodic, gamma=0.97, **SETTINGS
    )
    collect(model)
    data, store = model.rollout, model.rollout_buffer
    assert data.terminated.any()
    assert data.truncated.any()
    assert not (data.terminated & data.truncated).any()
    with torch.no_grad():
        here, there = model.policy.values(data.obs.flatten(0, 1)), model.policy.values(data.next_obs.flatten(0, 1))
        last = model.policy.values(store.last_obs).double().numpy()
    here, there = (x.double().unflatten(1, data.shape).numpy() for x in (here, there))
    terminated, done = data.terminated.numpy(), data.done.numpy()
    true_successor = np.where(terminated, 0.0, there)
    bonus = np.full(data.shape, 1.0 / model.intrinsic_scale.std.item())
    extrinsic = literal_advantages(
        data.rewards.double().numpy(), here[0], true_successor[0], done, 0.97 * lambda_, 0.97
    )
    np.testing.assert_allclose(store.advantages[0].numpy(), extrinsic, rtol=0, atol=1e-5)
    if episodic:
        wanted = literal_advantages(bonus, here[1], true_successor[1], done, g * lambda_, g)
    else:  # one life: what follows an end is the next episode's first state
        following = np.concatenate([here[1][1:], last[1][None]])
        wanted = literal_advantages(bonus, here[1], following, np.zeros_like(done), g * lambda_, g)
    np.testing.assert_allclose(store.advantages[1].numpy(), wanted, rtol=0, atol=1e-5)


class Numbered(gym.Env):
    """Shows (episode, step of the episode)."""

    observation_space, action_space = spaces.Box(-1e6, 1e6, (2,), np.float32), spaces.Discrete(2)

    def __init__(self, length: int, time_limit: bool) -> None:
        self.length, self.time_limit, self.episode = length, time_limit, 0

    def view(self) -> np.ndarray:
        return np.array([self.episode, self.t], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self.view(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.t += 1
        end = self.t == self.length
        return self.view(), float(self.t), end and not self.time_limit, end and self.time_limit, {}


def test_the_rollout_holds_true_successors_also_at_its_own_end() -> None:
    env = DummyVecEnv([lambda: Numbered(4, False), lambda: Numbered(3, True)])
    model: Any = collect(PPO("MlpPolicy", env, **SETTINGS | {"n_steps": 8, "batch_size": 8}))
    data = model.rollout
    for n, length in enumerate((4, 3)):
        for t in range(8):
            episode, age = 1 + t // length, t % length
            assert data.obs[t, n].tolist() == [episode, age]
            assert data.next_obs[t, n].tolist() == [episode, age + 1]
            assert data.rewards[t, n] == age + 1  # no bootstrap in it
            assert (data.terminated[t, n].item(), data.truncated[t, n].item()) == (
                age + 1 == length and n == 0, age + 1 == length and n == 1,
            )  # fmt: skip


def test_labels_of_a_batched_world_reach_the_rollout() -> None:
    model: Any = PPO("MlpPolicy", GymnasiumVecEnv(DeepSea(2, size=4, emit_labels=True)), **SETTINGS)
    data = collect(model).rollout
    assert data.labels["row"][:, 0].tolist() == [1, 2, 3, 4] * 16
    columns = data.next_obs.sum(-2).argmax(-1)
    inside = ~data.terminated
    assert torch.equal(data.labels["column"][inside], columns[inside])


# ---------------------------------------------------------------------- schedule and modes


def test_the_weight_is_a_function_of_absolute_steps() -> None:
    seen: list[int] = []

    def schedule(step: int) -> float:
        seen.append(step)
        return 1 / (1 + step)

    memory = Memory()
    model = PPO("MlpPolicy", noise(), intrinsic=One, intrinsic_weight=schedule, **SETTINGS)
    model.set_logger(Logger(None, [memory]))
    model.learn(256)
    model.learn(128, reset_num_timesteps=False)
    assert seen == [0, 128, 256]
    assert [line["curiosity/weight"] for _, line in memory.lines] == [1, 1 / 129, 1 / 257]

    class Keep(BaseCallback):
        def _on_rollout_start(self) -> None:
            if self.num_timesteps == 256:
                self.kept = weights(self.model)  # type: ignore[arg-type]

        def _on_step(self) -> bool:
            return True

    keep = Keep()  # a longer run begins as the shorter one went
    long = PPO("MlpPolicy", noise(), intrinsic=One, intrinsic_weight=schedule, **SETTINGS).learn(512, callback=keep)
    short = PPO("MlpPolicy", noise(), intrinsic=One, intrinsic_weight=schedule, **SETTINGS).learn(256)
    assert all(torch.equal(value, weights(short)[name]) for name, value in keep.kept.items())
    assert not torch.equal(weights(long)["action_net.weight"], weights(short)["action_net.weight"])


@pytest.mark.parametrize("clip_range_vf", [None, 0.2])  # the compiled losses and the plain ones
def test_with_an_extrinsic_weight_of_zero_nothing_learns_from_the_reward(clip_range_vf: float | None) -> None:
    def trained(scale: float) -> PPO:
        kwargs = SETTINGS | {"clip_range_vf": clip_range_vf}
        model = PPO("MlpPolicy", Scaled(noise(), scale), intrinsic=One, extrinsic_weight=0.0, **kwargs)
        return model.learn(256)

    plain, other = trained(1.0), trained(1000.0)
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(plain).items())
    fresh = PPO("MlpPolicy", noise(), intrinsic=One, extrinsic_weight=0.0, **SETTINGS)
    assert torch.equal(weights(plain)["value_net.weight"], weights(fresh)["value_net.weight"])
    assert not torch.equal(weights(plain)["intrinsic_value_net.weight"], weights(fresh)["intrinsic_value_net.weight"])


class Scaled(VecEnvWrapper):
    """Rewards times a factor."""

    def __init__(self, venv: Any, scale: float) -> None:
        super().__init__(venv)
        self.scale = scale

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        obs, rewards, dones, infos = self.venv.step_wait()
        return obs, self.scale * rewards, dones, infos


def test_the_extrinsic_weight_scales_the_extrinsic_advantage() -> None:
    model = collect(PPO("MlpPolicy", noise(), intrinsic=One, extrinsic_weight=lambda step: 3.0 + step, **SETTINGS))
    data = model.rollout_buffer
    torch.testing.assert_close(data.mixed, 3.0 * data.advantages[0] + 0.05 * data.advantages[1])


class Pull(Objective):
    """Draws the encoder's features to a learned point; counts the optimiser's steps."""

    def __init__(self, context: Context, **kwargs: Any) -> None:
        super().__init__(context, **kwargs)
        self.point = nn.Parameter(torch.ones(context.features_dim))
        self.steps = 0

    def loss(self, encoder: Any, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        features = encoder(map_obs(lambda x: x[index], rollout.obs))
        loss = (features - self.point).square().mean()
        return loss, {"size": features.abs().mean().item()}

    def after_step(self, encoder: Any) -> None:
        self.steps += 1


class Linear(Encoder):
    """One layer, no rectifier: every weight has a gradient."""

    def __init__(self, observation_space: spaces.Space) -> None:
        super().__init__(observation_space, features_dim=4)
        self.layer = nn.Linear(3, 4)

    def forward(self, obs: Any) -> Tensor:
        return self.layer(obs)


def with_objective(env: VecEnv | None = None, objective: Any = None, **kwargs: Any) -> Any:
    policy = {"features_extractor_class": Linear, "net_arch": [8]}
    return PPO("MlpPolicy", env or noise(), objective=objective, policy_kwargs=policy, **SETTINGS | kwargs)


class Trace(BaseCallback):
    """Weights at the start of each rollout."""

    def _on_training_start(self) -> None:
        self.encoders: list[list[Tensor]] = []
        self.heads: list[Tensor] = []

    def _on_rollout_start(self) -> None:
        self.encoders.append(encoder_weights(self.model))  # type: ignore[arg-type]
        self.heads.append(self.model.policy.value_net.weight.detach().clone())  # type: ignore[operator, union-attr]

    def _on_step(self) -> bool:
        return True


def test_frozen_trains_the_encoder_before_and_only_the_heads_afterwards() -> None:
    model, trace = with_objective(objective=lambda c: Pull(c, mode="frozen", pretrain_steps=256)), Trace()
    point = model.objective.point.detach().clone()
    model.learn(5 * 128, callback=trace)
    encoders = [*trace.encoders, encoder_weights(model)]
    moved = [not same(a, b) for a, b in zip(encoders, encoders[1:], strict=False)]
    assert moved == [True, True, False, False, False]
    heads = [*trace.heads, model.policy.value_net.weight]
    assert [not torch.equal(a, b) for a, b in zip(heads, heads[1:], strict=False)] == [False, False, True, True, True]
    assert not torch.equal(point, model.objective.point)
    assert model.objective.steps == 2 * 3 * 2  # rollouts x epochs x minibatches


@pytest.mark.parametrize("poison", [1e6, 1e25, 1e38])
@pytest.mark.parametrize("bonus", [None, One])
@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_reward_is_not_used_in_pre_training(mode: Any, bonus: Any, poison: float) -> None:
    def pretrained(reward: float) -> Any:
        return with_objective(
            noise(reward=reward), lambda c: Pull(c, mode=mode, pretrain_steps=256), intrinsic=bonus
        ).learn(256)

    clean, poisoned = pretrained(0.0), pretrained(poison)
    for name, value in weights(clean).items():
        assert torch.equal(value, weights(poisoned)[name]), name
    assert poisoned.rollout.rewards.abs().max() > 0.1 * poison
    after = with_objective(noise(reward=2.0), lambda c: Pull(c, mode=mode, pretrain_steps=128)).learn(256)
    assert not torch.equal(weights(after)["value_net.weight"], weights(clean)["value_net.weight"])


def one_step(objective: Any = None, **kwargs: Any) -> tuple[list[Tensor], Any]:
    """How a single optimiser step moved the encoder."""
    settings = {"n_epochs": 1, "batch_size": 128, "learning_rate": 0.1, "max_grad_norm": 1e9}
    model = with_objective(objective=objective, **settings | kwargs)
    before = encoder_weights(model)
    model.learn(128)
    return [b - a for a, b in zip(before, encoder_weights(model), strict=True)], model


def test_finetune_moves_the_encoder_at_a_hundredth_of_the_rate() -> None:
    plain, reference = one_step()
    tuned, model = one_step(lambda c: Pull(c, mode="finetune", pretrain_steps=0))
    for a, b in zip(plain, tuned, strict=True):
        assert a.abs().max() == pytest.approx(0.1, rel=0.01)
        torch.testing.assert_close(b, 0.01 * a, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(model.policy.value_net.weight, reference.policy.value_net.weight)
    assert model.objective.steps == 0


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_auxiliary_adds_the_weighted_gradient_of_the_objective(weight: float) -> None:
    def gradient(loss: Tensor, model: PPO) -> list[Tensor]:
        return list(torch.autograd.grad(loss, list(model.policy.features_extractor.parameters())))

    plain: Any = collect(with_objective())
    model: Any = collect(with_objective(objective=lambda c: Pull(c, weight=weight)))
    t, n = torch.arange(64), torch.arange(64) % 2
    without = gradient(plain._losses(2 * t + n, 0.2)["loss"], plain)
    both = gradient(model._losses(2 * t + n, 0.2)["loss"], model)
    own = gradient(model.objective.loss(model.policy.features_extractor, model.rollout, (t, n))[0], model)
    for a, b, c in zip(without, both, own, strict=True):
        assert c.abs().max() > 1e-3
        torch.testing.assert_close(b, a + weight * c, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_in_pre_training_only_the_objective_reaches_the_encoder(mode: Any) -> None:
    model = collect(with_objective(objective=lambda c: Pull(c, mode=mode, weight=0.5), intrinsic=One))
    encoder, (t, n) = model.policy.features_extractor, (torch.arange(64), torch.arange(64) % 2)
    model._losses(2 * t + n, 0.2)["loss"].backward()
    own = torch.autograd.grad(model.objective.loss(encoder, model.rollout, (t, n))[0], list(encoder.parameters()))
    for parameter, gradient in zip(encoder.parameters(), own, strict=True):
        torch.testing.assert_close(parameter.grad, 0.5 * gradient)
    assert model.policy.action_net.weight.grad.abs().sum() > 0  # the bonus does train the heads


def test_auxiliary_learns_the_objectives_own_parameters_and_calls_after_step() -> None:
    _, model = one_step(Pull)
    assert model.objective.steps == 1
    assert (model.objective.point - 1).abs().min() > 0.05


@pytest.mark.parametrize("bonus", [None, One])
def test_a_frozen_encoder_is_the_one_that_was_loaded(bonus: Any) -> None:
    given = Linear(VECTOR)
    model = with_objective(freeze_encoder=True, intrinsic=bonus)
    assert not same(encoder_weights(model), list(given.parameters()))
    model.load_encoder(given)
    heads = weights(model)
    model.learn(256)
    assert same(encoder_weights(model), list(given.parameters()))
    assert not torch.equal(weights(model)["action_net.weight"], heads["action_net.weight"])
    assert not torch.equal(weights(model)["value_net.weight"], heads["value_net.weight"])


def test_parts_build_encoders_of_the_policys_architecture_with_weights_of_their_own() -> None:
    for policy in ({"features_extractor_class": Linear}, {}):  # one of ours; SB3's, which wants its input preprocessed
        model = PPO("MlpPolicy", noise(), intrinsic=Zero, policy_kwargs=policy, **SETTINGS)
        context = model.intrinsic.context  # type: ignore[union-attr]
        first, second = context.make_encoder(), context.make_encoder()
        assert first(torch.zeros(5, 3)).shape == (5, context.features_dim) == (5, first.features_dim)
        assert context.n_envs == 2
        assert {id(p) for p in first.parameters()}.isdisjoint(
            {id(p) for m in (second, model.policy) for p in m.parameters()}
        )


# ---------------------------------------------------------------------- annealing


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_annealing_scales_learning_rate_and_entropy_by_absolute_steps(share: float) -> None:
    """With a share s of both, the learner is the one whose rate and entropy coefficient were s times as large."""
    asked: list[int] = []

    def anneal(steps: int) -> float:
        asked.append(steps)
        return share

    kwargs = SETTINGS | {"learning_rate": 4e-3, "ent_coef": 0.04}
    annealed = PPO("MlpPolicy", noise(), anneal=anneal, **kwargs).learn(384)
    scaled = PPO("MlpPolicy", noise(), **kwargs | {"learning_rate": share * 4e-3, "ent_coef": share * 0.04}).learn(384)
    assert asked == [0, 128, 256]
    assert all(torch.equal(value, weights(scaled)[name]) for name, value in weights(annealed).items())


# ---------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    "actions", [spaces.Discrete(3), spaces.MultiDiscrete([2, 2]), spaces.Box(-1, 1, (2,), np.float32)]
)
@pytest.mark.parametrize("batch_size", [64, 128])  # the next minibatch meets it, or only the next rollout
def test_a_diverging_learning_rate_is_told(actions: spaces.Space, batch_size: int) -> None:
    kwargs: dict[str, Any] = {"learning_rate": 1e25, "n_epochs": 1, "batch_size": batch_size}
    policy = {"net_arch": [16, 16], "activation_fn": nn.ReLU}
    model = PPO("MlpPolicy", noise(actions=actions), policy_kwargs=policy, **SETTINGS | kwargs)
    with pytest.raises(NonFinite):
        model.learn(512)


@pytest.mark.parametrize("ask", ["act", "predict"])
@pytest.mark.parametrize("network", [{}, {"features_extractor_class": Mlp}])
def test_a_policy_whose_logits_are_not_finite_is_told(ask: str, network: dict[str, Any]) -> None:
    """Also where nothing is compiled, as on a GPU, whose `multinomial` does not raise but ends CUDA."""
    policy = PPO("MlpPolicy", noise(), policy_kwargs=network, **SETTINGS).policy
    policy.__class__ = type("Plain", (type(policy),), {"compiled": False})
    torch.nn.init.constant_(policy.action_net.bias, torch.nan)
    obs = np.zeros((4, *policy.observation_space.shape), np.float32)
    with pytest.raises(NonFinite):
        policy.predict(obs) if ask == "predict" else policy.act(torch.as_tensor(obs))


def test_a_bonus_that_is_not_finite_is_told_by_name() -> None:
    class Broken(Zero):
        def reward(self, rollout: Rollout) -> Tensor:
            return torch.full(rollout.shape, torch.nan)

    with pytest.raises(NonFinite, match="Broken"):
        PPO("MlpPolicy", noise(), intrinsic=Broken, **SETTINGS).learn(128)
