import copy
import errno
import hashlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sandbox import checkpoint
from sandbox.checkpoint import FAILPOINTS, decode, encode, latest, load, save, verify
from sandbox.errors import CorruptFile, NoResources

FILES = ("tensors.safetensors", "state.json", "MANIFEST.json")
ROOT = Path(checkpoint.__file__).parent.parent


def same(a, b) -> bool:
    """Equal in type, structure, dtype, shape and bits (so that nan equals nan and 0.0 does not equal -0.0)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return [(type(k), k) for k in a] == [(type(k), k) for k in b] and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        bits = [x.contiguous().flatten().view(torch.uint8) if x.numel() else x.flatten() for x in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    return a == b


def tree(step: int = 0) -> dict:
    return {"policy": OrderedDict(w=torch.full((3, 4), float(step))), "step": step, "rng": (1, 2.5), 7: np.arange(5)}


def warned():
    lines: list[str] = []
    return lines, lines.append


# ------------------------------------------------------------------ round trip

dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="="),
    hnp.unsigned_integer_dtypes(endianness="="),
    hnp.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=()), max_size=5),
    arrays,
    arrays.map(lambda a: torch.from_numpy(a.copy())),
    arrays.filter(lambda a: a.size).map(lambda a: a.flatten()[0]),
)
keys = st.one_of(st.text(max_size=3), st.integers(), st.sampled_from(["$tensor", "$dict", "$", "0"]))
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(trees)
def test_any_tree_comes_back_bit_for_bit(value):
    from safetensors.torch import load as from_bytes
    from safetensors.torch import save as to_bytes

    json_tree, tensors = encode(value)
    text = json.dumps(json_tree, allow_nan=False)
    assert same(value, decode(json.loads(text), from_bytes(to_bytes(tensors))))


def test_save_and_latest_bring_a_training_state_back(tmp_path):
    model = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    adam.step()
    state = {
        "model": model.state_dict(),
        "adam": adam.state_dict(),
        "bfloat16": torch.tensor(1.5, dtype=torch.bfloat16),
        "empty": torch.empty(0, 3, dtype=torch.uint64),
        "scalar": np.float32(0.1),
        "generator": np.random.PCG64(3).state,
    }
    expected = copy.deepcopy(state)
    save(tmp_path, 64, state)
    step, found = latest(tmp_path)
    # a state_dict's OrderedDict carries an extra attribute that equality ignores
    assert step == 64
    assert same(expected, found)
    adam.load_state_dict(found["adam"])
    assert set(found["adam"]["state"]) == {0, 1}


def test_views_and_shared_memory_are_saved_as_what_they_show():
    base = torch.arange(12.0).reshape(3, 4)
    value = {"a": base, "b": base, "view": base[:, 1], "turned": base.T, "np": base.numpy()[::-1, ::2]}
    json_tree, tensors = encode(value)
    base.zero_()
    found = decode(json_tree, tensors)
    assert found["view"].tolist() == [1, 5, 9]
    assert found["turned"].tolist() == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
    assert found["np"].tolist() == [[8, 10], [4, 6], [0, 2]]
    found["a"][0, 0] = 99
    assert found["b"][0, 0] == 0


def test_a_parameter_comes_back_as_a_plain_tensor():
    found = decode(*encode([torch.nn.Parameter(torch.ones(2))]))[0]
    assert type(found) is torch.Tensor
    assert not found.requires_grad


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, {2, 3}]}, r"tree\['a'\]\[1\].*set"),
        ({"a": {True: 1}}, r"tree\['a'\].*bool"),
        ({"f": len}, r"tree\['f'\]"),
        ([np.array([None])], r"tree\[0\].*O"),
        ([np.array([1.0], dtype=">f8")], r"tree\[0\]"),
        ([np.longdouble(1)], r"tree\[0\]"),
        (torch.zeros(2, dtype=torch.complex128), "tree.*complex128"),
        (torch.eye(2).to_sparse(), "tree.*sparse"),
        (torch.zeros(2, device="meta"), "tree"),
    ],
)
def test_what_cannot_be_saved_is_named_by_its_place(value, place):
    with pytest.raises(TypeError, match=place):
        encode(value)


@pytest.mark.parametrize(
    "text", ['{"$tensor": "9"}', '{"$what": 1}', '{"$float": "xyz"}', '{"$tuple": 3}', '{"$dict": [[[], 1]]}']
)
def test_foreign_json_is_refused(text):
    with pytest.raises(CorruptFile):
        decode(json.loads(text), {})


# ------------------------------------------------------------------ damage


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.write_bytes(data[: len(data) * int(how) // 100])


@pytest.mark.parametrize("how", ["0", "1", "50", "99", "flipped", "missing"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path, name, how):
    for step in (10, 20):
        save(tmp_path, step, tree(step))
    damage(tmp_path / "step-000000000020" / name, how)
    lines, warn = warned()
    step, found = latest(tmp_path, warn)
    assert step == 10
    assert same(found, tree(10))
    assert len(lines) == 1
    assert name in lines[0]
    assert "step 20" in lines[0]
    assert "step 10" in lines[0]
    assert any(name in problem for problem in verify(tmp_path / "step-000000000020"))
    assert verify(tmp_path / "step-000000000010") == []


def test_no_flipped_bit_of_a_manifest_goes_unseen(tmp_path):
    path = save(tmp_path, 10, {"x": 1}) / "MANIFEST.json"
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert verify(path.parent), f"bit {bit}: {flipped!r}"


def test_a_manifest_of_another_step_is_seen(tmp_path):
    first, second = save(tmp_path, 10, tree()), save(tmp_path, 20, tree())
    (second / "MANIFEST.json").write_bytes((first / "MANIFEST.json").read_bytes())
    assert "step 10" in verify(second)[0]
    lines, warn = warned()
    assert latest(tmp_path, warn)[0] == 10
    assert "step 20" in lines[0]


def test_all_damaged_is_an_error_that_names_each(tmp_path):
    for path in [save(tmp_path, step, tree()) for step in (10, 20)]:
        damage(path / "state.json", "flipped")
    with pytest.raises(CorruptFile, match=r"(?s)step 20.*state\.json.*step 10.*state\.json") as caught:
        latest(tmp_path)
    assert caught.value.exit_code == 5


def test_no_checkpoint_at_all_is_none(tmp_path):
    assert latest(tmp_path / "nowhere") is None
    (tmp_path / "step-12").mkdir()
    assert latest(tmp_path) is None


def test_nothing_outside_the_folder_is_read(tmp_path):
    outside = save(tmp_path / "outside", 10, tree())
    folder = tmp_path / "run"
    save(folder, 5, tree(5))
    (folder / "step-000000000010").symlink_to(outside)
    lines, warn = warned()
    assert latest(folder, warn)[0] == 5
    assert "symbolic link" in lines[0]
    inside = folder / "step-000000000005" / "state.json"
    inside.unlink()
    inside.symlink_to(outside / "state.json")
    assert "symbolic link" in verify(inside.parent)[0]
    manifest = json.loads((outside / "MANIFEST.json").read_text())
    manifest["files"]["../../secret"] = manifest["files"].pop("state.json")
    (outside / "MANIFEST.json").write_text(json.dumps(manifest))
    assert "MANIFEST.json" in verify(outside)[0]


def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path):
    path = save(tmp_path, 5, tree()) / "state.json"
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in verify(path.parent)[0]


def test_a_state_that_a_checksum_vouches_for_is_still_only_data(tmp_path):
    path = save(tmp_path, 5, tree())
    for name, content in (("state.json", b'{"$eval": "1"}'), ("tensors.safetensors", b"no tensors")):
        manifest = json.loads((path / "MANIFEST.json").read_text())
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        (path / name).write_bytes(content)
        (path / "MANIFEST.json").write_text(json.dumps(manifest))
        with pytest.raises(CorruptFile):
            load(path)


# ------------------------------------------------------------------ what stays and what goes


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_keeps_the_newest(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step, tree(step), keep=3)
    assert names(tmp_path) == [f"step-{step:012d}" for step in (2, 3, 4)]
    save(tmp_path, 5, tree(5), keep=1)
    assert names(tmp_path) == ["step-000000000005"]


def test_a_damaged_checkpoint_takes_no_place_of_a_good_one(tmp_path):
    for step in (1, 2):
        save(tmp_path, step, tree(step))
    damage(tmp_path / "step-000000000002" / "state.json", "flipped")
    save(tmp_path, 3, tree(3), keep=2)
    assert names(tmp_path) == ["step-000000000001", "step-000000000003"]


def test_the_same_step_again_is_left_if_good_and_replaced_if_damaged(tmp_path):
    path = save(tmp_path, 1, {"x": 1})
    save(tmp_path, 1, {"x": 2})
    assert load(path) == {"x": 1}
    damage(path / "state.json", "50")
    save(tmp_path, 1, {"x": 2})
    assert load(path) == {"x": 2}
    assert names(tmp_path) == [path.name]


def test_leftovers_of_dead_writers_go_and_nothing_else(tmp_path):
    for leftover in (".tmp-one", ".tmp-two"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "tensors.safetensors").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    outside = tmp_path.parent / "outside.txt"
    outside.write_text("mine")
    (tmp_path / ".tmp-three").symlink_to(outside)
    save(tmp_path, 1, tree())
    assert names(tmp_path) == ["notes.txt", "step-000000000001"]
    assert outside.read_text() == "mine"


@pytest.mark.parametrize(("step", "keep"), [(-1, 2), (10**12, 2), (1, 0)])
def test_impossible_arguments(tmp_path, step, keep):
    with pytest.raises(ValueError, match="step must be"):
        save(tmp_path, step, tree(), keep=keep)


def test_a_state_too_large_to_be_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_STATE", 1000)
    with pytest.raises(ValueError, match="use arrays"):
        save(tmp_path, 1, {"x": list(range(1000))})
    assert latest(tmp_path) is None


# ------------------------------------------------------------------ faults while writing


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("point", ["tensors_written", "before_manifest", "before_rename"])
def test_a_disk_error_leaves_the_old_checkpoint_and_no_litter(tmp_path, code, point):
    save(tmp_path, 1, tree(1))

    def fail(name: str) -> None:
        if name == point:
            raise OSError(code, os.strerror(code))

    with pytest.raises(NoResources, match="step 2") as caught:
        save(tmp_path, 2, tree(2), failpoint=fail)
    assert os.strerror(code) in str(caught.value)
    assert ("Needed" in str(caught.value)) == (code in (errno.ENOSPC, errno.EDQUOT))
    assert names(tmp_path) == ["step-000000000001"]
    assert latest(tmp_path)[0] == 1


def test_a_real_file_size_limit(tmp_path):
    save(tmp_path, 1, tree(1))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
    try:
        with pytest.raises(NoResources, match=r"Needed 80\.\d kB"):
            save(tmp_path, 2, {"x": torch.zeros(20_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert names(tmp_path) == ["step-000000000001"]
    assert latest(tmp_path)[0] == 1


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NoResources):
        save(tmp_path / "file", 1, tree())


def test_a_disk_that_does_not_keep_what_it_got(tmp_path):
    save(tmp_path, 1, tree(1))

    def rot(name: str) -> None:
        if name == "before_manifest":
            (temporary,) = tmp_path.glob(".tmp-*")
            damage(temporary / "tensors.safetensors", "flipped")

    with pytest.raises(CorruptFile, match="does not read back"):
        save(tmp_path, 2, tree(2), failpoint=rot, keep=1)
    assert names(tmp_path) == ["step-000000000001"]


WRITER = """
import sys
from pathlib import Path
from sandbox.checkpoint import save
for step in (10, 20, 30):
    save(Path(sys.argv[1]), step, {"x": list(range(step)), "step": step})
"""


def run_until_killed(folder: Path, failpoint: str) -> int:
    environment = os.environ | {"SANDBOX_FAILPOINT": failpoint, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", WRITER, str(folder)], env=environment, check=False).returncode


@pytest.mark.parametrize("point", FAILPOINTS)
def test_killed_anywhere_the_newest_whole_checkpoint_loads(tmp_path, point):
    assert run_until_killed(tmp_path, f"{point}:3") == -signal.SIGKILL
    newest = 30 if point in ("after_rename", "before_prune") else 20
    lines, warn = warned()
    step, found = latest(tmp_path, warn)
    assert (step, lines) == (newest, [])
    assert found == {"x": list(range(newest)), "step": newest}
    assert len(list(tmp_path.glob(".tmp-*"))) == (1 if newest == 20 else 0)
    save(tmp_path, 40, {"step": 40})
    assert names(tmp_path) == [f"step-{newest:012d}", "step-000000000040"]


def test_without_a_failpoint_nobody_is_killed(tmp_path):
    assert run_until_killed(tmp_path, "") == 0
    assert run_until_killed(tmp_path, "no_such_point") == 0
    assert latest(tmp_path)[0] == 30
