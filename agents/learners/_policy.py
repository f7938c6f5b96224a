"""SB3's actor-critic policies with an optional second value head, and a way to take raw observations."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.distributions import BernoulliDistribution, CategoricalDistribution, Distribution
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from agents import randomness
from agents.encoders import Encoder
from agents.faults import NonFinite
from agents.layers import Linear, affine
from agents.learners._compiled import sample
from agents.rollout import Obs, map_obs


class TwoHeads(ActorCriticPolicy):
    """An actor with one value head, or with a second one for the intrinsic stream.

    Args:
        intrinsic_value: build the second head. It is made after SB3's own layers on a forked random stream, so that
            all other initial weights equal SB3's.
    """

    def __init__(self, *args: Any, intrinsic_value: bool = False, **kwargs: Any) -> None:
        self._wants_intrinsic_value = intrinsic_value
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        if self.raw_obs:  # SB3's own extractors stay SB3's to the last bit
            for layer in self.mlp_extractor.modules():
                if type(layer) is nn.Linear:
                    layer.__class__ = Linear  # the same parameters, the product by oneDNN
        self.value_nets = [self.value_net]  # a list on purpose: SB3's own attribute keeps the parameters' names
        if self._wants_intrinsic_value:
            with randomness.kept():
                self.intrinsic_value_net = nn.Linear(self.mlp_extractor.latent_dim_vf, 1)
                self.init_weights(self.intrinsic_value_net, gain=1)
            self.value_nets.append(self.intrinsic_value_net)
            self.optimizer.add_param_group({"params": list(self.intrinsic_value_net.parameters())})

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"intrinsic_value": self._wants_intrinsic_value}

    @property
    def raw_obs(self) -> bool:
        """Does the encoder read raw observations (ours do, SB3's extractors want them preprocessed)?"""
        return isinstance(self.features_extractor, Encoder)

    def extract_features(  # type: ignore[override]
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        if self.raw_obs and self.share_features_extractor:
            return self.features_extractor(obs)
        return super().extract_features(obs, features_extractor)

    def get_distribution(self, obs: PyTorchObs) -> Any:
        if not self.raw_obs:
            return super().get_distribution(obs)
        return self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(self.features_extractor(obs)))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        if deterministic or not self.compiled:
            return super()._predict(observation, deterministic)
        return self.act(observation)[0]

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        if not self.raw_obs:
            return super().predict_values(obs)
        return self.value_net(self.mlp_extractor.forward_critic(self.features_extractor(obs)))

    # ------------------------------------------------------------------ what the learner calls

    @property
    def compiled(self) -> bool:
        """Does the compiled path apply: discrete actions, an encoder of ours, float32 on the CPU?"""
        head = self.action_net.weight if isinstance(self.action_dist, CategoricalDistribution) else None
        return self.raw_obs and head is not None and head.device.type == "cpu" and head.dtype == torch.float32

    def outputs(self, obs: Obs, *, detach_encoder: bool = False) -> Tensor:
        """[M, A + heads]: logits and values, by one product where actor and critic share their last layer."""
        pi, vf = self._latents(obs, detach_encoder=detach_encoder)
        heads: list[Any] = [self.action_net, *self.value_nets]
        if pi is vf:
            return affine(pi, torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads]))
        return torch.cat([heads[0](pi), *(head(vf) for head in heads[1:])], dim=1)

    def act(self, obs: Obs) -> tuple[Tensor, Tensor, Tensor]:
        """Sampled actions [N, ...], values [heads, N], log-probabilities [N]."""
        if self.compiled:
            n_actions = int(self.action_space.n)  # type: ignore[attr-defined]
            chosen = sample(self.outputs(obs).numpy(), n_actions, len(self.value_nets))
            if chosen is None:
                raise NonFinite("the policy's action probabilities diverged: a logit is not finite")
            return chosen
        return self._act(obs)

    def _act(self, obs: Obs) -> tuple[Tensor, Tensor, Tensor]:
        pi, vf = self._latents(obs, detach_encoder=False)
        if isinstance(self.action_dist, CategoricalDistribution):
            log_probs = self._log_probs(pi)
            if not log_probs.isfinite().all():  # on a GPU `multinomial` would say so by ending CUDA in this process
                raise NonFinite("the policy's action probabilities diverged: a logit is not finite")
            chosen = torch.multinomial(torch.softmax(log_probs, dim=-1), 1, replacement=True)
            return chosen[:, 0], self._values(vf), log_probs.gather(1, chosen)[:, 0]
        distribution = self._get_action_dist_from_latent(pi)
        actions = distribution.get_actions(deterministic=False)
        log_prob = distribution.log_prob(actions)
        return actions.reshape((-1, *self.action_space.shape)), self._values(vf), log_prob  # type: ignore[misc]

    def _log_probs(self, latent_pi: Tensor) -> Tensor:
        """[N, A] by torch's own `Categorical` arithmetic, without the cost of building and checking one."""
        logits = self.action_net(latent_pi)
        return logits - logits.logsumexp(dim=-1, keepdim=True)

    def evaluate(self, obs: Obs, actions: Tensor, *, detach_encoder: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values [heads, M], log-probabilities [M] and entropy [M] of `actions`; the gradient may stop at features."""
        pi, vf = self._latents(obs, detach_encoder=detach_encoder)
        if isinstance(self.action_dist, CategoricalDistribution):
            log_probs = self._log_probs(pi)
            entropy = -(log_probs * torch.softmax(log_probs, dim=-1)).sum(-1)
            return self._values(vf), log_probs.gather(1, actions.reshape(-1, 1))[:, 0], entropy
        distribution = self._get_action_dist_from_latent(pi)
        flat = actions.flatten(1)  # SB3's distributions know actions as vectors, and single bits as floats
        flat = flat.float() if isinstance(self.action_dist, BernoulliDistribution) else flat
        return self._values(vf), distribution.log_prob(flat), distribution.entropy()

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        """torch checks the parameters of a distribution, so weights that diverged show here first."""
        try:
            return super()._get_action_dist_from_latent(latent_pi)
        except ValueError as error:
            raise NonFinite("the policy's action distribution diverged: a parameter is not finite") from error

    def values(self, obs: Obs) -> Tensor:
        """[heads, M]"""
        return self._values(self._latents(obs, detach_encoder=False)[1])

    def obs_to_device(self, obs: Obs) -> Obs:
        """Raw observations, moved to where the weights are."""
        return map_obs(lambda x: x.to(self.device), obs)

    def _latents(self, obs: Obs, *, detach_encoder: bool) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not detach_encoder):
            features = self.extract_features(obs)
        if isinstance(features, tuple):
            return self.mlp_extractor.forward_actor(features[0]), self.mlp_extractor.forward_critic(features[1])
        if not self.net_arch:
            return features, features
        return self.mlp_extractor(features)

    def _values(self, latent: Tensor) -> Tensor:
        return torch.stack([head(latent).flatten() for head in self.value_nets])


class MlpPolicy(TwoHeads):
    """SB3's "MlpPolicy"."""


class CnnPolicy(TwoHeads, ActorCriticCnnPolicy):
    """SB3's "CnnPolicy"."""


class MultiInputPolicy(TwoHeads, MultiInputActorCriticPolicy):
    """SB3's "MultiInputPolicy"."""


class Preprocessed(nn.Module):
    """An SB3 extractor that takes raw observations."""

    def __init__(self, extractor: BaseFeaturesExtractor, normalize_images: bool) -> None:
        super().__init__()
        self.extractor, self.normalize_images = extractor, normalize_images
        self.features_dim = extractor.features_dim

    def forward(self, obs: Obs) -> Tensor:
        space = self.extractor._observation_space
        return self.extractor(preprocess_obs(obs, space, normalize_images=self.normalize_images))
