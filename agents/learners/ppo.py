"""Proximal policy optimisation on two reward streams, on top of stable-baselines3's PPO.

Rollout -> bonus [T, N] -> two advantages, each with its own value head, discount and episode rule -> one policy loss:

    A = A_extrinsic + weight(step) * A_intrinsic,     A_* by generalised advantage estimation (`_gae.py`)

Sources: Schulman et al. 2017 (PPO); Burda et al. 2019 "Exploration by random network distillation" §2.3 (two heads,
two discounts, non-episodic intrinsic returns). Surface, policies, logger, callbacks and `predict` are SB3's. What
differs from SB3, and why: the rollout holds true successors, so a bonus sees the state that an episode ended in and
not the next episode's start; terminated and truncated stay apart; a time limit's bootstrap is a value and never part
of a reward; the log is written after the update, so that the last one is not lost. Without bonus and objective, the
same seed gives SB3's weights; so does a bonus of weight 0.

A policy that learned from labels may be handed over (`take_policy`). Its value heads know nothing yet, and advantages
of such a critic are noise that undoes the policy; so only the value heads learn at first, on the features as they are,
and then everything (Ramrakhya et al. 2023, "PIRLNav": critic learning, then interactive learning). The policy's moments
in Adam begin where the policy begins to learn. A cloned policy is too sure of itself: its gradients are nearly 0 until
a rare action comes, which Adam then answers with a step many times too large. At the full rate such policies collapsed
from perfect play, in MiniGrid's DoorKey-5x5 with 500 labels; so what was handed over learns at a tenth of the rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import explained_variance, obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor
from torch.nn import functional as F

from agents import randomness
from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.faults import NonFinite
from agents.learners._actor import Actor
from agents.learners._actor import fits as actor_fits
from agents.learners._backward import Backward
from agents.learners._backward import fits as backward_fits
from agents.learners._compiled import Surrogate
from agents.learners._gae import advantages, successor_values
from agents.learners._policy import CnnPolicy, MlpPolicy, MultiInputPolicy, Preprocessed, TwoHeads
from agents.learners._storage import RolloutStorage
from agents.normalise import IntrinsicScale
from agents.objectives import Objective
from agents.rollout import Rollout, flatten_obs, map_obs

WeightSchedule = Callable[[int], float]  # absolute environment steps -> weight
VALUE_LOSSES = ("value_loss", "intrinsic_value_loss")  # of the extrinsic and the intrinsic head
HANDED_RATE = 0.1  # of the learning rate, for a policy that was handed over, once its critic has learned
FINETUNE_RATE = 0.01  # of the learning rate, for a pre-trained encoder (Schwarzer et al. 2021 fine-tune 100 x slower)


class PPO(SB3PPO):
    """SB3's PPO; its arguments, and these:

    Args:
        intrinsic: builds the bonus from a `Context` (a class of `agents.curiosity`, or a partial of one).
        objective: builds the self-supervised objective likewise.
        extrinsic_weight, intrinsic_weight: weights of the two advantages, numbers or functions of absolute environment
            steps. While the extrinsic one is 0, nothing learns from the reward, the value head included.
        intrinsic_gamma: discount of the intrinsic stream.
        intrinsic_episodic: does an episode's end cut the intrinsic return (RND's own choice is no)?
        anneal: share of the learning rate and of `ent_coef` that is left, as a function of absolute environment steps.
        bfloat16: take the update's large products in bfloat16 where the processor has it (see `agents/layers.py`); the
            policy acts in float32 all the same.
        freeze_encoder: the encoder is given (see `load_encoder`) and only the heads learn.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy: TwoHeads
    rollout_buffer: RolloutStorage  # type: ignore[assignment]

    def __init__(
        self,
        policy: str | type[TwoHeads],
        env: Any,
        *args: Any,
        intrinsic: Callable[[Context], IntrinsicReward] | None = None,
        objective: Callable[[Context], Objective] | None = None,
        extrinsic_weight: float | WeightSchedule = 1.0,
        intrinsic_weight: float | WeightSchedule = 0.05,
        intrinsic_gamma: float = 0.99,
        intrinsic_episodic: bool = True,
        anneal: Callable[[int], float] = lambda _steps: 1.0,
        bfloat16: bool = False,
        freeze_encoder: bool = False,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._make_intrinsic, self._make_objective = intrinsic, objective
        self.intrinsic: IntrinsicReward | None = None
        self.objective: Objective | None = None
        self.extrinsic_weight, self.intrinsic_weight = _schedule(extrinsic_weight), _schedule(intrinsic_weight)
        self.intrinsic_gamma, self.intrinsic_episodic = intrinsic_gamma, intrinsic_episodic
        self.anneal, self._share = anneal, 1.0
        self.bfloat16 = bfloat16
        self.freeze_encoder = freeze_encoder
        self.policy_from = 0  # absolute environment steps: in rollouts that begin before, only the value heads learn
        self.rollout: Rollout | None = None  # the last one collected
        self._log_now = False
        self._bonus_weight = 0.0  # of the present rollout
        self._surrogate: Surrogate | None = None  # of the rollout being learned from
        self._backward: Backward | None = None  # None: by autograd
        policy_kwargs = dict(policy_kwargs or {}) | {"intrinsic_value": intrinsic is not None}
        kwargs |= {"rollout_buffer_class": RolloutStorage}
        kwargs |= {"rollout_buffer_kwargs": {"heads": 1 if intrinsic is None else 2}}
        super().__init__(policy, env, *args, policy_kwargs=policy_kwargs, **kwargs)  # type: ignore[misc]

    def _setup_model(self) -> None:
        super()._setup_model()
        context = Context(self.observation_space, self.action_space, self.n_envs, self._make_encoder)
        with randomness.kept():  # parts must not shift the learner's random stream
            if self._make_intrinsic is not None:
                self.intrinsic = self._make_intrinsic(context).to(self.device)
                self.intrinsic.eval()  # it judges the view itself: no augmentation
            if self._make_objective is not None:
                self.objective = self._make_objective(context).to(self.device)
        self.intrinsic_scale = IntrinsicScale(self.n_envs, self.intrinsic_gamma).to(self.device)
        self._group_parameters()

    def _make_encoder(self) -> Any:
        """A fresh encoder of the policy's architecture, over raw observations."""
        extractor = self.policy.make_features_extractor()
        return extractor if self.policy.raw_obs else Preprocessed(extractor, self.policy.normalize_images)

    def _group_parameters(self) -> None:
        """Encoder, heads and objective as three groups of one optimiser, as the encoder may need its own rate."""
        encoder = list(self.policy.features_extractor.parameters())
        known = {id(p) for p in encoder}
        heads = [p for p in self.policy.parameters() if id(p) not in known]
        own = [p for p in self.objective.parameters() if p.requires_grad] if self.objective else []
        optimizer = self.policy.optimizer
        template = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
        optimizer.param_groups = [template | {"params": params} for params in (heads, encoder, own)]

    # ------------------------------------------------------------------ what the phase of training says

    @property
    def reward_free(self) -> bool:
        """Is the present rollout part of an objective's reward-free pre-training?"""
        objective = self.objective
        return (
            objective is not None and objective.mode != "auxiliary" and self._rollout_start < objective.pretrain_steps
        )

    @property
    def blind(self) -> bool:
        """Must nothing learn from the reward of the present rollout?"""
        return self.reward_free or self.extrinsic_weight(self._rollout_start) == 0

    @property
    def bonus_is_off(self) -> bool:
        """Is there a bonus whose weight is 0 in the present rollout? Then its value head must not shape the encoder."""
        return self.intrinsic is not None and self._bonus_weight == 0

    @property
    def critic_only(self) -> bool:
        """Must the present rollout leave the policy as it is?"""
        return self._rollout_start < self.policy_from

    @property
    def _entropy_weight(self) -> float:
        return 0.0 if self.critic_only else self.ent_coef * self._share

    @property
    def _encoder_rate(self) -> float:
        """The encoder's share of the learning rate for the policy's gradient: 0 means cut."""
        if self.freeze_encoder or self.reward_free or self.critic_only:
            return 0.0
        mode = self.objective.mode if self.objective else "auxiliary"
        return {"auxiliary": 1.0, "frozen": 0.0, "finetune": FINETUNE_RATE}[mode]

    @property
    def _objective_active(self) -> bool:
        return self.objective is not None and (self.objective.mode == "auxiliary" or self.reward_free)

    def load_encoder(self, encoder: torch.nn.Module) -> None:
        """Take the weights of a trained encoder of the same architecture."""
        self.policy.features_extractor.load_state_dict(encoder.state_dict())

    def take_policy(self, policy: TwoHeads) -> None:
        """Act as a trained policy of the same architecture acts; the value heads, and their own layers, stay fresh."""
        weights = {name: value for name, value in policy.state_dict().items() if "value_net" not in name}
        self.policy.load_state_dict(self.policy.state_dict() | weights)

    # ------------------------------------------------------------------ acting

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        """As SB3's, which may reset the environment: then the bonus's episodes have ended too."""
        before = self._last_obs
        ready = super()._setup_learn(*args, **kwargs)
        if self.intrinsic is not None and self._last_obs is not before:
            self.intrinsic.new_episodes()
        return ready

    def collect_rollouts(  # type: ignore[override]
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutStorage, n_rollout_steps: int
    ) -> bool:
        """Fill `rollout_buffer` with T steps of N environments and their advantages. False: a callback said stop."""
        assert self._last_obs is not None, "no previous observation: call learn()"
        self.policy.set_training_mode(False)
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()
        self._rollout_start = self.num_timesteps
        rollout_buffer.reset()
        act = Actor(self.policy, env.num_envs).act if actor_fits(self.policy) else self.policy.act
        for step in range(n_rollout_steps):
            if self.use_sde and self.sde_sample_freq > 0 and step % self.sde_sample_freq == 0:
                self.policy.reset_noise(env.num_envs)
            obs = obs_as_tensor(self._last_obs, self.device)  # type: ignore[arg-type]
            with torch.no_grad():
                action, values, log_prob = act(obs)
            actions = action.cpu().numpy()
            new_obs, rewards, dones, infos = env.step(self._to_environment(actions))
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones)
            rollout_buffer.add_step(obs, action, values, log_prob, rewards, dones, infos)
            rollout_buffer.add_labels(getattr(env, "last_labels", {}))
            self._last_obs = new_obs  # type: ignore[assignment]
            self._last_episode_starts = dones
        self.rollout = rollout_buffer.finish(obs_as_tensor(new_obs, self.device))  # type: ignore[arg-type]
        self._estimate(rollout_buffer, self.rollout)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: np.ndarray | None = None) -> None:
        """As SB3's, but only copies that ended are asked: a finished episode stands in no other info."""
        ended = range(len(infos)) if dones is None else np.flatnonzero(dones).tolist()
        if ended:
            super()._update_info_buffer([infos[n] for n in ended], None if dones is None else dones[ended])

    def _to_environment(self, actions: np.ndarray) -> np.ndarray:
        if not isinstance(self.action_space, spaces.Box):
            return actions
        if self.policy.squash_output:
            return self.policy.unscale_action(actions)
        return np.clip(actions, self.action_space.low, self.action_space.high)

    @torch.no_grad()
    def _estimate(self, storage: RolloutStorage, rollout: Rollout) -> None:
        """Bonus, successor values and both advantages of a finished rollout."""
        last = self.policy.values(storage.last_obs)
        ends = storage.truncated.nonzero(as_tuple=True)
        final = self.policy.values(map_obs(lambda x: x[ends], rollout.next_obs)) if len(ends[0]) else None
        keep = (~storage.terminated).to(storage.values.dtype)
        for head, values in enumerate(storage.values):
            following = successor_values(values, last[head])
            episodic = head == 0 or self.intrinsic_episodic
            if episodic:
                following *= keep
                if final is not None:
                    following[ends] = final[head]
            ended = rollout.done if episodic else torch.zeros_like(rollout.done)
            rewards = rollout.rewards if head == 0 else self._intrinsic_rewards(rollout)
            gamma = self.gamma if head == 0 else self.intrinsic_gamma
            storage.advantages[head] = advantages(rewards, values, following, ended, gamma, self.gae_lambda)
        storage.returns = storage.advantages + storage.values
        storage.mixed = torch.zeros_like(storage.mixed) if self.blind else self._weighted(storage.advantages[0])
        if self.intrinsic is not None:
            self._bonus_weight = self.intrinsic_weight(self._rollout_start)
            storage.mixed = storage.mixed + self._bonus_weight * storage.advantages[1]
            self.logger.record("curiosity/weight", self._bonus_weight)
        if self.critic_only:
            storage.mixed = torch.zeros_like(storage.mixed)

    def _weighted(self, advantages: Tensor) -> Tensor:
        weight = self.extrinsic_weight(self._rollout_start)
        return advantages if weight == 1.0 else weight * advantages

    def _intrinsic_rewards(self, rollout: Rollout) -> Tensor:
        assert self.intrinsic is not None
        raw = self.intrinsic.reward(rollout)
        if not torch.isfinite(raw).all():
            raise NonFinite(f"the bonus {type(self.intrinsic).__name__} gave a non-finite intrinsic reward")
        scaled = raw if self.intrinsic.scaled else self.intrinsic_scale.scale(raw)
        self.logger.record("curiosity/reward_mean", raw.mean().item())
        self.logger.record("curiosity/reward_max", raw.max().item())
        self.logger.record("curiosity/scaled_reward_mean", scaled.mean().item())
        return scaled

    # ------------------------------------------------------------------ learning

    def train(self) -> None:
        """Update policy, encoder and objective from the last rollout, then the bonus; then write the log."""
        self.policy.set_training_mode(True)
        self._set_rates()
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        self._surrogate = self._backward = None
        sums: dict[str, list[Tensor]] = {}
        stop = False
        for _epoch in range(self.n_epochs):
            for index in self.rollout_buffer.minibatches(self.batch_size):
                terms = self._losses(index, clip_range)
                for name, value in terms.items():
                    sums.setdefault(name, []).append(value.detach())
                if self.target_kl is not None and terms["approx_kl"] > 1.5 * self.target_kl:
                    stop = True
                    break
                self._step(terms["loss"])
            self._n_updates += 1
            if stop:
                break
        self._check_finite(sums)
        self._record(sums, clip_range)
        if self.intrinsic is not None:
            assert self.rollout is not None
            for name, number in self.intrinsic.update(self.rollout).items():
                self.logger.record(f"curiosity/{name}", number)
        if self._log_now:
            self._log_now = False
            super().dump_logs(self._iteration)

    def _set_rates(self) -> None:
        """SB3's schedule, what annealing leaves of it, and the encoder's share."""
        self._share = self.anneal(self._rollout_start)
        self._update_learning_rate(self.policy.optimizer)
        groups = self.policy.optimizer.param_groups
        handed = self.policy_from > 0 and not self.critic_only
        for group in groups:
            group["lr"] *= self._share * (HANDED_RATE if handed else 1.0)
        self.logger.record("train/learning_rate", groups[0]["lr"])
        groups[1]["lr"] *= self._encoder_rate if not self._objective_active else 1.0
        if 0 < self.policy_from <= self._rollout_start < self.policy_from + self.n_steps * self.n_envs:
            _begin_moments(self.policy.optimizer)

    def _losses(self, index: Tensor, clip_range: float) -> dict[str, Tensor]:
        """The terms of the loss on the minibatch of steps `index` (flat); `loss` is their weighted sum."""
        detach = self._encoder_rate == 0.0
        compiled = self.policy.compiled and self.clip_range_vf is None
        terms = (self._compiled_losses if compiled else self._plain_losses)(index, clip_range, detach)
        if self._objective_active:
            assert self.objective is not None and self.rollout is not None
            pairs = self.rollout_buffer.pairs(index)
            own, metrics = self.objective.loss(self.policy.features_extractor, self.rollout, pairs)
            terms["loss"] = terms["loss"] + self.objective.weight * own
            terms["representation/loss"] = own
            terms |= {f"representation/{name}": torch.as_tensor(value) for name, value in metrics.items()}
        return terms

    def _compiled_losses(self, index: Tensor, clip_range: float, detach: bool) -> dict[str, Tensor]:
        if self._surrogate is None:
            self._prepare(clip_range, detach)
        assert self._surrogate is not None
        if self._backward is None:
            obs = map_obs(lambda x: self.rollout_buffer.take(x, index), self.rollout_buffer.obs)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                outputs = self.policy.outputs(obs, detach_encoder=detach)
            loss, stats = self._surrogate(outputs, index)
        else:
            outputs, where = self._backward.outputs(index)
            stats = self._surrogate.no_stats()
            self._backward.pull, loss = self._surrogate.gradient(outputs, where, index, stats)
        names = ("policy_gradient_loss", "entropy_loss", "approx_kl", "clip_fraction", *VALUE_LOSSES)
        return dict(zip(names, stats.unbind(), strict=False)) | {"loss": loss}

    def _prepare(self, clip_range: float, detach: bool) -> None:
        """What the compiled path lays out once a rollout."""
        data = self.rollout_buffer
        coefs = torch.full((len(data.values),), self.vf_coef, dtype=torch.float64)
        if self.blind:
            coefs[0] = 0.0  # the extrinsic head must not see reward yet
        if self.bonus_is_off:
            coefs[1] = 0.0
        self._surrogate = Surrogate(
            data.actions, data.log_probs, data.mixed, data.returns, clip_range=clip_range,
            ent_coef=self._entropy_weight, value_coefs=coefs, normalise=self.normalize_advantage,
        )  # fmt: skip
        alone = not self._objective_active and not self.bfloat16  # else autograd is needed
        self._backward = None
        if alone and isinstance(self.policy.optimizer, Adam) and backward_fits(self.policy):
            self.policy.optimizer.zero_grad()  # the objective's too: the last of pre-training would be taken for ever
            self._backward = Backward(self.policy, flatten_obs(data.obs), through_encoder=not detach)

    def _plain_losses(self, index: Tensor, clip_range: float, detach: bool) -> dict[str, Tensor]:
        data = self.rollout_buffer
        obs, actions = map_obs(lambda x: data.take(x, index), data.obs), data.take(data.actions, index)
        values, log_prob, entropy = self.policy.evaluate(obs, actions, detach_encoder=detach)
        advantage = data.take(data.mixed, index)
        if self.normalize_advantage and len(advantage) > 1:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        log_ratio = log_prob - data.take(data.log_probs, index)
        ratio = torch.exp(log_ratio)
        clipped = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
        policy_loss = -torch.min(advantage * ratio, advantage * clipped).mean()
        entropy_loss = -torch.mean(-log_prob if entropy is None else entropy)
        value_losses = [self._value_loss(head, values[head], index) for head in range(len(values))]
        if self.blind:
            value_losses[0] = 0.0 * values[0].sum()  # the extrinsic head must not see reward yet; Adam counts on
        if self.bonus_is_off:
            value_losses[1] = 0.0 * values[1].sum()
        loss = policy_loss + self._entropy_weight * entropy_loss + self.vf_coef * torch.stack(value_losses).sum()
        terms = {"policy_gradient_loss": policy_loss, "entropy_loss": entropy_loss}
        terms |= dict(zip(VALUE_LOSSES, value_losses, strict=False))
        with torch.no_grad():
            terms["approx_kl"] = torch.mean((ratio - 1) - log_ratio)
            terms["clip_fraction"] = torch.mean((torch.abs(ratio - 1) > clip_range).float())
        return terms | {"loss": loss}

    def _value_loss(self, head: int, values: Tensor, index: Tensor) -> Tensor:
        data = self.rollout_buffer
        target = data.take(data.returns[head], index)
        if self.clip_range_vf is not None and head == 0:
            old = data.take(data.values[head], index)
            limit = self.clip_range_vf(self._current_progress_remaining)  # type: ignore[operator]
            values = old + torch.clamp(values - old, -limit, limit)
        return F.mse_loss(target, values)

    def _step(self, loss: Tensor) -> None:
        optimizer = self.policy.optimizer
        if self._backward is None:
            optimizer.zero_grad()
            loss.backward()
        else:
            self._backward.backward()
        if isinstance(optimizer, Adam):
            optimizer.step(max_norm=self.max_grad_norm)
        else:
            own = optimizer.param_groups[2]["params"]  # in SB3's order, as a sum of squares depends on it
            torch.nn.utils.clip_grad_norm_([*self.policy.parameters(), *own], self.max_grad_norm)
            optimizer.step()
        if self._objective_active:
            assert self.objective is not None
            self.objective.after_step(self.policy.features_extractor)

    def _check_finite(self, sums: dict[str, list[Tensor]]) -> None:
        for name, values in sums.items():
            if not torch.isfinite(torch.stack(values)).all():
                raise NonFinite(f"train/{name} became non-finite at step {self.num_timesteps}")
        for name, parameter in self.policy.named_parameters():
            if not math.isfinite(parameter.detach().sum().item()):  # one number is not finite: nor is the sum
                raise NonFinite(f"the weights {name} became non-finite at step {self.num_timesteps}")

    def _record(self, sums: dict[str, list[Tensor]], clip_range: float) -> None:
        for name, values in sums.items():
            tag = name if "/" in name else f"train/{name}"
            number = values[-1] if name == "loss" else torch.stack(values).double().mean()
            self.logger.record(tag, number.item())
        data = self.rollout_buffer
        variance = explained_variance(data.values[0].flatten().cpu().numpy(), data.returns[0].flatten().cpu().numpy())
        self.logger.record("train/explained_variance", float(variance))
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", torch.exp(self.policy.log_std).mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)
        if self.clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", self.clip_range_vf(self._current_progress_remaining))  # type: ignore[operator]

    def dump_logs(self, iteration: int = 0) -> None:
        """SB3 calls this before `train`; we write after it, so that every update is logged at its own step."""
        self._log_now, self._iteration = True, iteration

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "intrinsic", "objective", "rollout", "intrinsic_scale", "_backward"]


def _schedule(value: float | WeightSchedule) -> WeightSchedule:
    return value if callable(value) else lambda _steps: value


def _begin_moments(optimizer: torch.optim.Optimizer) -> None:
    """Of parameters that have had no gradient yet: else Adam takes its short memory of them for a long one, and their
    first steps are up to six times too large."""
    for state in optimizer.state.values():
        if state and not state["exp_avg_sq"].any():
            state["step"].zero_()
