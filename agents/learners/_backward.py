"""A policy's outputs and their gradient on minibatches of one rollout, without autograd and without repetition.

encoder -> actor's and critic's layers -> [u, A + H] logits and values of the minibatch's u different views. For
policies that are compiled (see `fits`); every other one, and a loss with further terms, takes autograd's way. A test
holds the two together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.distinct import Distinct
from agents.learners._policy import TwoHeads
from agents.rollout import Obs
from agents.stack import Layer, Stack, Trunk, layers_of
from agents.stack import fits as trunk_fits


def fits(policy: TwoHeads) -> bool:
    """Is this policy of the kind that is compiled?"""
    nets = policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net
    shared = policy.compiled and policy.share_features_extractor
    return shared and trunk_fits(policy.features_extractor) and None not in map(layers_of, nets)


class Backward:
    """The policy on views [B, ...] of a rollout; `through_encoder`: does the gradient reach the encoder?

    `pull` is the gradient of the last outputs [u, A + H], which whoever knows the loss sets before `backward`.
    """

    pull: Tensor

    @torch.no_grad()
    def __init__(self, policy: TwoHeads, obs: Obs, *, through_encoder: bool) -> None:
        self.through_encoder = through_encoder
        self.n_actions = int(policy.action_space.n)  # type: ignore[attr-defined]
        self.trunk = Trunk(policy.features_extractor)
        action_net: Any = policy.action_net
        pi, vf = layers_of(policy.mlp_extractor.policy_net), layers_of(policy.mlp_extractor.value_net)
        assert pi is not None and vf is not None
        if pi or vf:
            self.heads = [Stack([*pi, Layer([action_net], None)]), Stack([*vf, Layer(policy.value_nets, None)])]
        else:
            self.heads = [Stack([Layer([action_net, *policy.value_nets], None)])]
        self.distinct = Distinct(obs)
        self.given = self.trunk.read(self.distinct.obs)

    @torch.no_grad()
    def outputs(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(outputs, where): [u, A + H] of different views, and [M] which of them each step of `index` [M] saw."""
        views, where = self.distinct.among(self.distinct.ids[index])
        features = self.trunk(tuple(part.index_select(0, views) for part in self.given))
        outputs = [head(features) for head in self.heads]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1), where

    @torch.no_grad()
    def backward(self) -> None:
        """Give every parameter its gradient for `pull`."""
        grad = self.pull
        through = self.through_encoder and self.trunk.learns
        parts = [grad] if len(self.heads) == 1 else grad.split([self.n_actions, grad.shape[1] - self.n_actions], 1)
        pulls = [head.backward(part, through=through) for head, part in zip(self.heads, parts, strict=True)]
        if through:
            self.trunk.backward(pulls[0] if len(pulls) == 1 else pulls[0] + pulls[1])
