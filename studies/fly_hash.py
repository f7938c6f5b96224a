"""FlyHash beside random projections (LSH): which finds nearest neighbours with few cells, and is the filter's novelty
that of the data?

As in Dasgupta, Stevens & Navlakha 2017: 10,000 pictures, truth = the 200 nearest in Euclidean distance, answer = the
200 nearest tags. `lsh` keeps k real Gaussian projections; `fly` the values, `fly binary` the names of the k most active
of m = 10 d cells that each sum a tenth of the d pixels. Two metrics of an answer: precision at each true neighbour
found, averaged over those found (on MNIST it reproduces the published 0.160 of LSH at k = 4), or over all 200, where a
miss counts as zero. Ties of tags are broken at random.

As in Dasgupta et al. 2018: after 4,500 pictures are written, does the novelty of 500 others rise with the distance to
the nearest one stored (Pearson's r; m = 10 n cells, k = 50)?

The data are digits drawn here in 22 typefaces that come with matplotlib, turned, sheared, scaled and moved at random,
28 x 28 pixels. They are not MNIST, which comes with no package that this project installs, and a study downloads
nothing. As in the fly, a picture's mean is taken away and its length is made one (the tag is blind to both anyway).

    make study-fly-hash
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from studies import _run

PICTURES, QUERIES, NEAREST = 10_000, 300, 200
KS = (2, 4, 8, 16, 32)
STORED, ASKED, ACTIVE = 4_500, 500, 50
TYPEFACES = ("DejaVuSans*", "DejaVuSerif*", "STIXGeneral*", "cmb10", "cmmi10", "cmr10", "cmss10", "cmti10", "cmtt10")


def typefaces() -> list[Path]:
    """Those with digits."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    found = sorted(path for pattern in TYPEFACES for path in folder.glob(f"{pattern}.ttf"))
    return [path for path in found if "Display" not in path.stem]


def digits(n: int, rng: np.random.Generator) -> np.ndarray:
    """[n, 784] float32, 0 the ground and 1 the ink."""
    from PIL import Image, ImageDraw, ImageFont

    fonts = [ImageFont.truetype(str(path), 48) for path in typefaces()]
    pictures = np.empty((n, 28, 28), np.float32)
    for picture in pictures:
        canvas = Image.new("L", (64, 64))
        font = fonts[rng.integers(len(fonts))]
        ImageDraw.Draw(canvas).text((32, 32), str(rng.integers(10)), font=font, fill=255, anchor="mm")
        angle, shear, (wide, high) = rng.uniform(-0.26, 0.26), rng.uniform(-0.2, 0.2), rng.uniform(1.8, 2.6, 2)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        back = turn @ np.array([[1, shear], [0, 1]]) @ np.diag([wide, high])  # from a pixel of ours to the canvas
        shift = 32 - back @ (14 + rng.uniform(-2, 2, 2))
        data = (*back[0], shift[0], *back[1], shift[1])
        picture[:] = canvas.transform((28, 28), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return pictures.reshape(n, -1) / 255


def normal(x: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1."""
    centred = x - x.mean(1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


def distances(queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Squared Euclidean, [Q, P]."""
    return (queries**2).sum(1)[:, None] - 2 * queries @ points.T + (points**2).sum(1)


def nearest(distance: np.ndarray, asked: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[Q, 200], the nearest first; a query is not its own neighbour, and equal distances come in random order."""
    distance = distance.copy()
    distance[np.arange(len(asked)), asked] = np.inf
    shuffled = rng.permutation(distance.shape[1])
    return shuffled[np.argsort(distance[:, shuffled], axis=1, kind="stable")[:, :NEAREST]]


def precision(truth: np.ndarray, answer: np.ndarray) -> tuple[float, float]:
    """Mean over the queries of both metrics: over the true neighbours found, and over all of them."""
    found, all_ = [], []
    for true, given in zip(truth, answer, strict=True):
        hit = np.isin(given, true)
        at_hits = (hit.cumsum() / np.arange(1, len(hit) + 1))[hit]
        found.append(at_hits.mean() if hit.any() else 0.0)
        all_.append(at_hits.sum() / len(true))
    return float(np.mean(found)), float(np.mean(all_))


def tags(pictures: np.ndarray, m: int, active: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells [n, active], most active first, and what they sum in the normal pictures; each reads a tenth of the
    pixels. A tag is that of the plain picture, whose ground of zeros costs nothing."""
    import torch

    from agents.curiosity._fly import FlyHash

    fly = FlyHash(pictures.shape[1], cells=m, fan_in=pictures.shape[1] // 10, active=active)
    chosen, x = fly(torch.from_numpy(pictures)).numpy(), normal(pictures)
    values = np.stack([x[i, fly.synapses.numpy()[cells]].sum(-1) for i, cells in enumerate(chosen)])
    return chosen, values


def sparse(cells: np.ndarray, values: np.ndarray, m: int) -> np.ndarray:
    """[n, m]"""
    out = np.zeros((len(cells), m), np.float32)
    np.put_along_axis(out, cells, values, axis=1)
    return out


def similarity(seed: int) -> list[dict[str, Any]]:
    """Both metrics of each arm at each k."""
    rng = np.random.default_rng(seed)
    pictures = digits(PICTURES, rng)
    x, m, asked = normal(pictures), 10 * pictures.shape[1], rng.choice(PICTURES, QUERIES, replace=False)
    truth = nearest(distances(x[asked], x), asked, rng)
    cells, values = tags(pictures, m, max(KS))
    rows = []
    for k in KS:
        codes = {
            "lsh": x @ rng.standard_normal((x.shape[1], k)).astype(np.float32),
            "fly": sparse(cells[:, :k], values[:, :k], m),
            "fly binary": sparse(cells[:, :k], np.ones((PICTURES, k), np.float32), m),
        }
        for arm, code in codes.items():
            found, all_ = precision(truth, nearest(distances(code[asked], code).round(6), asked, rng))
            rows.append({"k": k, "arm": arm, "found": found, "all": all_})
    return rows


def novelty(seed: int) -> list[dict[str, Any]]:
    """Correlation of the filter's novelty with the distance to the nearest stored picture."""
    import torch

    from agents.curiosity._fly import FadingFilter

    rng = np.random.default_rng(seed)
    pictures = digits(STORED + ASKED, rng)
    x = normal(pictures)
    far = np.sqrt(distances(x[STORED:], x[:STORED]).min(1).clip(0))
    m, rows = 10 * STORED, []
    chosen = torch.from_numpy(tags(pictures, m, ACTIVE)[0])
    for delta in (0.0, 0.9):
        fading = FadingFilter(m, delta, 0.0)
        fading.write(chosen[:STORED])
        r = np.corrcoef(far, fading.novelty(chosen[STORED:]).numpy())[0, 1]
        rows.append({"delta": delta, "r": float(r)})
    return rows


def run(seed: int) -> dict[str, Any]:
    import torch

    torch.manual_seed(seed)
    return {"seed": seed, "similarity": similarity(seed), "novelty": novelty(seed)}


def summary(values: list[float]) -> dict[str, Any]:
    from sandbox import statistics

    found = statistics.interval(values, statistics.mean)
    return {"mean": found.value, "low": found.low, "high": found.high, "seeds": found.n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    runs = _run.in_processes(run, [(seed,) for seed in range(options.seeds)], options.jobs)
    rows = []
    for i, row in enumerate(runs[0]["similarity"]):
        metrics = {name: summary([one["similarity"][i][name] for one in runs]) for name in ("found", "all")}
        rows.append({"k": row["k"], "arm": row["arm"], **metrics})
    fresh = [
        {"delta": row["delta"], "r": summary([one["novelty"][i]["r"] for one in runs])}
        for i, row in enumerate(runs[0]["novelty"])
    ]
    for line in rows + fresh:
        print(line)
    settings = {"pictures": PICTURES, "queries": QUERIES, "nearest": NEAREST, "typefaces": len(typefaces())}
    settings |= {"stored": STORED, "asked": ASKED, "active": ACTIVE}
    content = {"rows": rows, "novelty": fresh, "runs": runs, "settings": settings}
    print(_run.write("fly_hash", "make study-fly-hash", content))


if __name__ == "__main__":
    main()
