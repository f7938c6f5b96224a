"""What is measured beside what: the contenders, the groups that take turns, and the pairs whose ratio is stated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DOORKEY, MULTIROOM, KEYCORRIDOR = "MiniGrid-DoorKey-8x8-v0", "MiniGrid-MultiRoom-N6-v0", "MiniGrid-KeyCorridorS3R3-v0"


@dataclass(frozen=True)
class Contender:
    """`steps` is one measurement, a whole number of rollouts. `target`: env steps/s that it should reach."""

    name: str
    module: str
    steps: int
    what: str
    options: Mapping[str, Any]
    target: float | None = None

    @property
    def peer(self) -> bool:
        """Does it run in the peers' environment?"""
        return self.module.startswith("benchmarks.peers.")

    @property
    def rollout(self) -> int:
        """Environment steps between two updates; 0 where products are not counted."""
        if self.module in (PRODUCTS, WORLD, MINIGRID, OUR_BONUSES, THEIR_BONUSES):
            return 0
        n_steps = 128 if self.module == DEFAULT else self.options.get("n_steps", 2048)  # 2048: SB3's default
        return int(self.options.get("copies", 64) * n_steps)


@dataclass(frozen=True)
class Pair:
    """speed(ours) / speed(theirs), and the ratio that it should reach."""

    ours: str
    theirs: str
    target: float | None = None


@dataclass(frozen=True)
class Group:
    """Contenders that take turns. `note`: what the rows have in common, and what to beware of."""

    name: str
    title: str
    note: str
    contenders: tuple[Contender, ...]
    pairs: tuple[Pair, ...] = field(default=())


def _same_schedule(copies: int, batch: int) -> dict[str, Any]:
    return {"env": DOORKEY, "copies": copies, "n_steps": 128, "batch_size": batch, "n_epochs": 4}


def _limit(name: str) -> Contender:
    """The rate of matrix products that the group's learners are held against."""
    what = "the default loop's matrix products and nothing else"
    return Contender(name, PRODUCTS, 917_504, what, {"parts": ["act", "learn"]})


OURS, DEFAULT, WORLD = "benchmarks.ours.same_schedule", "benchmarks.ours.default", "benchmarks.ours.world"
PRODUCTS = "benchmarks.ours.products"
SB3, RLEXPLORE, MINIGRID = "benchmarks.peers.sb3", "benchmarks.peers.rlexplore", "benchmarks.peers.world"
OUR_BONUSES, THEIR_BONUSES = "benchmarks.ours.bonuses", "benchmarks.peers.bonuses"
AT_16, AT_64 = _same_schedule(16, 256), _same_schedule(64, 1024)
BONUS = "bonus networks of the peer's size"
LOOP: dict[str, Any] = {
    "copies": 64,
    "n_steps": 128,
    "batch_size": 1024,
    "n_epochs": 2,
    "learning_rate": 2e-3,
    "ent_coef": 0.01,
}
LOOP |= {"network": "shared 128-128", "env": MULTIROOM}

SAME_16 = Group(
    "same_schedule_16",
    "Same schedule, 16 copies",
    f"{DOORKEY}, 16 copies, 128 steps, batch 256, 4 epochs, separate 64-64 tanh networks for actor and critic over the "
    "same 151 raw numbers, float32, the other settings SB3's defaults. RLeXplore's classes have their own defaults. "
    "Ours computes equal views of a minibatch once and so has fewer kFLOP a step than SB3 with the same networks. How "
    "many fewer depends on the world: about half of a minibatch's views are different ones here, more where an agent "
    "gets around, and all of them where observations are continuous, which gains nothing. Not counted on either side: "
    "E3B's products of a matrix and a vector; nor RLeXplore's distances for RE3, which are no products.",
    (
        Contender("ppo at 16", OURS, 81_920, "ours, plain", AT_16, 40_000),
        Contender("ppo+rnd at 16", OURS, 61_440, f"ours; {BONUS}", AT_16 | {"bonus": "rnd"}),
        Contender("ppo+icm at 16", OURS, 61_440, f"ours; {BONUS}", AT_16 | {"bonus": "icm"}),
        Contender("ppo+e3b at 16", OURS, 61_440, f"ours; {BONUS}", AT_16 | {"bonus": "e3b"}),
        Contender("ppo+re3 at 16", OURS, 61_440, f"ours; {BONUS}", AT_16 | {"bonus": "re3"}),
        Contender("SB3 at 16", SB3, 20_480, "SB3's PPO on Minigrid itself", AT_16),
        Contender(
            "SB3 on our world at 16", SB3, 40_960, "SB3's PPO on our batched world: only the learner differs from ours",
            AT_16 | {"world": "ours"},
        ),
        Contender("SB3 + RND at 16", RLEXPLORE, 20_480, "RLeXplore's recipe", AT_16 | {"bonus": "RND"}),
        Contender("SB3 + ICM at 16", RLEXPLORE, 20_480, "RLeXplore's recipe", AT_16 | {"bonus": "ICM"}),
        Contender("SB3 + E3B at 16", RLEXPLORE, 16_384, "RLeXplore's recipe", AT_16 | {"bonus": "E3B"}),
        Contender("SB3 + RE3 at 16", RLEXPLORE, 8_192, "RLeXplore's recipe", AT_16 | {"bonus": "RE3"}),
        _limit("products at 16"),
    ),
    (
        Pair("ppo at 16", "SB3 at 16"),
        Pair("ppo at 16", "SB3 on our world at 16"),
        Pair("SB3 on our world at 16", "SB3 at 16"),
        Pair("ppo+rnd at 16", "SB3 + RND at 16", 10),
        Pair("ppo+icm at 16", "SB3 + ICM at 16", 10),
        Pair("ppo+e3b at 16", "SB3 + E3B at 16"),
        Pair("ppo+re3 at 16", "SB3 + RE3 at 16"),
    ),
)  # fmt: skip

SAME_64 = Group(
    "same_schedule_64",
    "Same schedule, 64 copies",
    "As above with 64 copies and batch 1024. Of our bonuses `rnd` and `icm` learn from half of the steps here, their "
    "default for 64 copies; RLeXplore's from all of them.",
    (
        Contender("ppo at 64", OURS, 163_840, "ours, plain", AT_64, 80_000),
        Contender("ppo+rnd at 64", OURS, 122_880, f"ours; {BONUS}", AT_64 | {"bonus": "rnd"}),
        Contender("ppo+icm at 64", OURS, 122_880, f"ours; {BONUS}", AT_64 | {"bonus": "icm"}),
        Contender("SB3 at 64", SB3, 16_384, "SB3's PPO on Minigrid itself", AT_64),
        Contender(
            "SB3 on our world at 64", SB3, 81_920, "SB3's PPO on our batched world: only the learner differs from ours",
            AT_64 | {"world": "ours"},
        ),
        Contender("SB3 + RND at 64", RLEXPLORE, 16_384, "RLeXplore's recipe", AT_64 | {"bonus": "RND"}),
        Contender("SB3 + ICM at 64", RLEXPLORE, 16_384, "RLeXplore's recipe", AT_64 | {"bonus": "ICM"}),
        _limit("products at 64"),
    ),
    (
        Pair("ppo at 64", "SB3 at 64"),
        Pair("ppo at 64", "SB3 on our world at 64"),
        Pair("SB3 on our world at 64", "SB3 at 64"),
        Pair("ppo+rnd at 64", "SB3 + RND at 64", 10),
        Pair("ppo+icm at 64", "SB3 + ICM at 64", 10),
    ),
)  # fmt: skip

DEFAULTS = Group(
    "defaults",
    "Our defaults beside the peers' defaults",
    f"{DOORKEY}; each as its user gets it without choosing anything. Ours: encoder `symbolic`, 64 copies, 128 steps, "
    "batch 1024, 2 epochs. Theirs: SB3's PPO (`MlpPolicy` 64-64, 2048 steps, batch 64, 10 epochs) with 8 copies, alone "
    "or with a reward of RLeXplore at its defaults (E3B is the one that its SB3 notebook takes). The schedules differ: "
    "this says how long a user waits for a number of steps, not which learner computes faster.",
    (
        Contender("ppo+counts default", DEFAULT, 163_840, "ours", {"env": DOORKEY, "agent": "ppo+counts"}),
        Contender("ppo+rnd default", DEFAULT, 163_840, "ours", {"env": DOORKEY, "agent": "ppo+rnd"}),
        Contender("ppo+icm default", DEFAULT, 163_840, "ours", {"env": DOORKEY, "agent": "ppo+icm"}),
        Contender("SB3 default", SB3, 16_384, "SB3 alone", {"env": DOORKEY, "copies": 8}),
        Contender(
            "SB3 + RND default", RLEXPLORE, 16_384, "RLeXplore's recipe", {"env": DOORKEY, "copies": 8, "bonus": "RND"}
        ),
        Contender(
            "SB3 + ICM default", RLEXPLORE, 16_384, "RLeXplore's recipe", {"env": DOORKEY, "copies": 8, "bonus": "ICM"}
        ),
        Contender(
            "SB3 + E3B default", RLEXPLORE, 16_384, "RLeXplore's recipe", {"env": DOORKEY, "copies": 8, "bonus": "E3B"}
        ),
        _limit("products"),
    ),
    (
        Pair("ppo+counts default", "SB3 default"),
        Pair("ppo+counts default", "SB3 + RND default", 20),
        Pair("ppo+counts default", "SB3 + ICM default", 20),
        Pair("ppo+counts default", "SB3 + E3B default", 20),
        Pair("ppo+rnd default", "SB3 + RND default"),
        Pair("ppo+icm default", "SB3 + ICM default"),
    ),
)

LOOP_GROUP = Group(
    "default_loop",
    "The default loop and the arithmetic limit",
    f"{MULTIROOM}, 64 copies, 128 steps, batch 1024, 2 epochs, float32. SB3 has the same schedule and widths (128-128, "
    "shared by actor and critic) over the 151 raw numbers, without a bonus.",
    (
        Contender(
            "ppo+counts loop", DEFAULT, 163_840, "ours, default configuration",
            {"env": MULTIROOM, "agent": "ppo+counts"}, 120_000,
        ),
        Contender(
            "ppo+contacts loop", DEFAULT, 163_840, "the same with the bonus of the timed studies",
            {"env": MULTIROOM, "agent": "ppo+contacts"},
        ),
        Contender("ppo loop", DEFAULT, 163_840, "ours, without the bonus", {"env": MULTIROOM, "agent": "ppo"}),
        Contender("SB3 loop on our world", SB3, 81_920, "SB3's PPO on our batched world", LOOP | {"world": "ours"}),
        Contender("SB3 loop", SB3, 16_384, "SB3's PPO on Minigrid itself", LOOP),
        _limit("limit"),
        Contender("limit, acting", PRODUCTS, 2_621_440, "those of acting (64 x 128 x 128)", {"parts": ["act"]}),
        Contender("limit, learning", PRODUCTS, 917_504, "those of learning (1024 x 128 x 128)", {"parts": ["learn"]}),
        Contender("learning, MKL", PRODUCTS, 917_504, "by MKL", {"parts": ["learn"], "kernel": "MKL"}),
        Contender("learning, oneDNN", PRODUCTS, 917_504, "by oneDNN", {"parts": ["learn"], "kernel": "oneDNN"}),
    ),
    (
        Pair("ppo+counts loop", "limit"),
        Pair("ppo+counts loop", "SB3 loop on our world"),
        Pair("ppo loop", "SB3 loop on our world"),
        Pair("SB3 loop on our world", "SB3 loop"),
        Pair("ppo+counts loop", "SB3 loop"),
        Pair("ppo+contacts loop", "ppo+counts loop"),
    ),
)  # fmt: skip

WORLDS = Group(
    "worlds",
    "Worlds alone",
    "Random actions, resets included; ours 64 copies at a time, Minigrid one bare environment. At a reset ours takes a "
    "level that was drawn before; Minigrid draws one, some 6 % of its time on MultiRoom-N6.",
    (
        Contender("our MultiRoom-N6", WORLD, 6_400_000, "compiled", {"env": MULTIROOM, "copies": 64}, 3_000_000),
        Contender("Minigrid's MultiRoom-N6", MINIGRID, 20_000, "Minigrid itself", {"env": MULTIROOM}),
        Contender("our KeyCorridorS3R3", WORLD, 6_400_000, "compiled", {"env": KEYCORRIDOR, "copies": 64}, 3_000_000),
        Contender("Minigrid's KeyCorridorS3R3", MINIGRID, 20_000, "Minigrid itself", {"env": KEYCORRIDOR}),
    ),
    (
        Pair("our MultiRoom-N6", "Minigrid's MultiRoom-N6"),
        Pair("our KeyCorridorS3R3", "Minigrid's KeyCorridorS3R3"),
    ),
)

RECORD: dict[str, Any] = {"env": MULTIROOM, "copies": 64, "n_steps": 128, "rollouts": 4}

COUNTERPARTS = {  # of our bonuses among the classes of RLeXplore
    "rnd": "RND",
    "icm": "ICM",
    "disagreement": "Disagreement",
    "e3b": "E3B",
    "ngu": "NGU",
    "pseudo_counts": "PseudoCounts",
    "re3": "RE3",
    "ride": "RIDE",
}

CURIOSITY = Group(
    "curiosity",
    "What a bonus costs",
    "Microseconds of CPU time for an environment step: a bonus's reward and its learning, without learner and world, "
    f"on recorded steps of {MULTIROOM} (64 copies, 128 steps a rollout; a quarter of the actions the oracle's, the "
    "others random). The bonuses of a side share a process and are measured one after the other.",
    (
        Contender("bonuses", OUR_BONUSES, 32_768, "ours, each with its defaults", RECORD),
        Contender("bonuses, peer-sized", OUR_BONUSES, 32_768, f"ours; {BONUS}", RECORD | {"peer_sized": True}),
        Contender("RLeXplore's bonuses", THEIR_BONUSES, 8_192, "its eight classes", RECORD),
    ),
)

GROUPS = {group.name: group for group in (SAME_16, SAME_64, DEFAULTS, LOOP_GROUP, WORLDS)}
CONTENDERS = {one.name: one for group in (*GROUPS.values(), CURIOSITY) for one in group.contenders}
