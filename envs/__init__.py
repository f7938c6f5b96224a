"""Worlds. Importing this package registers their ids with Gymnasium and nothing heavier.

Without an import: `gymnasium.make("envs:DeepSea-v0")`.
"""

from gymnasium.envs.registration import register, registry

# A world's file names its ids in a literal `IDS`; its entry points are named here by text, so that nothing is imported.
for _id, _module, _class in [("DeepSea-v0", "deep_sea", "DeepSea")]:
    if _id not in registry:
        register(id=_id, entry_point=f"envs.{_module}:make_single", vector_entry_point=f"envs.{_module}:{_class}")
