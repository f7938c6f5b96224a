"""Worlds. Importing this package registers their ids with Gymnasium and nothing heavier.

Without an import: `gymnasium.make("envs:DeepSea-v0")`.
"""

from typing import Any

from gymnasium.envs.registration import register, registry

# A world's file names its ids in a literal `IDS`; its entry points are named here by text, so that nothing is imported.
# One whose arguments name a `split` draws its episodes from a level pool: `envs.vector.make` hands it the pool's sizes.
_WORLDS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("DeepSea-v0", "deep_sea", "DeepSea", {}),
    ("DiscoMaze-v0", "disco_maze", "DiscoMaze", {}),
    *(
        (
            f"NoisyTV-{_rooms}{_form}-v0",
            "noisy_tv",
            "NoisyTV",
            {"rooms": f"MiniGrid-{_rooms}-v0", "split": "train"} | _how,
        )
        for _rooms in ("MultiRoom-N4-S5", "MultiRoom-N6")
        for _form, _how in (("", {}), ("-AlwaysOn", {"always_on": True}))
    ),
    ("MarkovGrid-v0", "msa_grid", "MarkovGrid", {}),
    ("PixelGoal-v0", "pixel_goal", "PixelGoal", {}),
    ("PixelGoal-Noise-v0", "pixel_goal", "PixelGoal", {"noise": True}),
    ("SparseMountainCar-v0", "mountain_car", "MountainCar", {}),
    ("SparseMountainCarContinuous-v0", "mountain_car", "MountainCar", {"continuous": True, "max_steps": 999}),
]
for _id, _module, _class, _kwargs in _WORLDS:
    if _id not in registry:
        _one, _many = f"envs.{_module}:make_single", f"envs.{_module}:{_class}"
        register(id=_id, entry_point=_one, vector_entry_point=_many, kwargs=_kwargs)

# Sizes of MultiRoom that papers on exploration use and Minigrid has no id for (Raileanu & Rocktaeschel 2020, Zhang et
# al. 2021): (rooms, largest room).
for _rooms, _size in [(7, 8), (10, 10), (12, 10)]:
    _id = f"MiniGrid-MultiRoom-N{_rooms}-S{_size}-v0"
    _kwargs = {"minNumRooms": _rooms, "maxNumRooms": _rooms, "maxRoomSize": _size}
    if _id not in registry:
        register(id=_id, entry_point="minigrid.envs:MultiRoomEnv", kwargs=_kwargs)
