"""gnomon's directions against those of steering-vectors and repeng, block by block, on the same contrast pairs.

Run `python benchmarks/oracles.py`; the exit code is 1 where a direction is missed. First both environments are shown
to compute the same model (equal token ids, equal logits); then every block's directions are compared by their cosine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gnomon import LM, Contrast
from gnomon.contrast import PairStates, read_pairs
from gnomon.methods import PCA, MeanDifference
from peers.environment import peers_python

DIRECTIONS = Path(__file__).parent / "peers" / "directions.py"
COSINE = 0.999
LENGTH = 1e-3  # of the mean difference, relative
LOGITS = 1e-3  # largest absolute difference between the two environments
COMPARED_LOGITS = 64  # prompts

Array = NDArray[np.float64]


def main() -> int:
    torch.set_num_threads(1)
    missed = compare("touchstone:honesty", Contrast("honest", "dishonest"))
    data = os.environ.get("GNOMON_TEST_DATA")
    stories = Path(data) / "models" / "stories260K" / "hf" if data else None
    if stories is not None and stories.is_dir():
        missed += compare(str(stories), Contrast("happy", "sad", max_pairs=200))
    else:
        print(
            "stories260K: skipped, GNOMON_TEST_DATA does not name a folder that holds models/stories260K/hf.\n"
        )
    print("\n".join(["Missed:", *missed]) if missed else "Every compared direction agrees.")
    return 1 if missed else 0


def compare(name: str, contrast: Contrast) -> list[str]:
    """Print one model's table; what it missed, in words."""
    lm = LM.load(name, device="cpu", dtype="float32")
    pairs = contrast.resolve(lm)
    states = read_pairs(lm, pairs)
    training = np.flatnonzero(~states.validation)
    prompts = [prompt for i in training for prompt in (pairs.toward[i], pairs.away[i])]
    title = Path(name).parent.name if Path(name).is_dir() else name
    print(f"## {title}: {len(training)} training pairs, {contrast.toward} / {contrast.away}\n")

    theirs = ask_peers(lm.model.config.name_or_path, lm.texts(prompts))
    ids = lm.encode(prompts)
    theirs_ids = np.split(theirs["ids"], np.cumsum(theirs["lengths"])[:-1])
    if ids != [row.tolist() for row in theirs_ids]:
        return [f"{title}: the two environments do not make the same token ids"]
    with torch.no_grad():
        logits = [lm.model(torch.tensor([row])).logits[0, -1].numpy() for row in ids[:COMPARED_LOGITS]]
    apart = float(np.abs(np.stack(logits) - theirs["logits"]).max())
    print(f"Token ids are equal; logits of the two environments differ by {apart:.1e} at most.\n")
    if not apart <= LOGITS:
        return [f"{title}: the logits of the two environments differ by {apart:.1e}"]
    return agreement(title, lm, contrast, states, theirs)


def ask_peers(folder: str, texts: list[str]) -> dict[str, Array]:
    """What the peers find on these prompts (toward and away in turns)."""
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    with tempfile.TemporaryDirectory() as exchange:
        job, result = Path(exchange) / "job.json", Path(exchange) / "directions.npz"
        job.write_text(json.dumps({"model": folder, "pairs": pairs, "logits": COMPARED_LOGITS}), "utf-8")
        done = subprocess.run([peers_python(), DIRECTIONS, job, result], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"The peers' script failed:\n{done.stderr[-3000:]}")
        with np.load(result) as found:
            return dict(found)


def agreement(
    title: str, lm: LM, contrast: Contrast, states: PairStates, theirs: dict[str, Array]
) -> list[str]:
    """Print the cosines of every block; what is below the mark."""
    columns = {
        "mean difference, steering-vectors mean": "steering_vectors_mean",
        "PCA, steering-vectors pca": "steering_vectors_pca",
        "PCA, repeng pca_center": "repeng_pca_center",
        "centred PCA (here), repeng pca_diff": "repeng_pca_diff",
    }
    print("| block | " + " | ".join(columns) + " |\n|" + "---|" * (1 + len(columns)))
    missed = []
    lengths = []
    for block in range(lm.n_blocks):
        (mean,) = MeanDifference(block=block).fit(lm, contrast, states=states).edits
        (component,) = PCA(block=block).fit(lm, contrast, states=states).edits
        differences = states.differences(block, validation=False).double().numpy()
        ours = [mean.vector.numpy(), component.vector.numpy(), component.vector.numpy(), centred(differences)]
        cells = []
        for (label, key), own in zip(columns.items(), ours, strict=True):
            cosine = similarity(own, theirs[key][block])
            after_norm = key.startswith("repeng") and block == lm.n_blocks - 1
            cells.append(f"({cosine:.4f})" if after_norm else f"{cosine:.6f}")
            if not after_norm and not abs(cosine) >= COSINE:
                missed.append(f"{title}, block {block}, {label}: cosine {cosine:.4f}")
        lengths.append(2 * np.linalg.norm(ours[0]) / np.linalg.norm(theirs["steering_vectors_mean"][block]))
        print(f"| {block} | " + " | ".join(cells) + " |")
    print(
        "\nIn brackets, not compared: repeng reads its last block behind the model's final norm, and not the residual "
        "stream that it adds the vector to.\n"
        "repeng's pca_diff is centred by scikit-learn, which takes the mean difference out; gnomon has no such method, "
        "so it is compared with a centred PCA of gnomon's states.\n"
        f"Length of twice gnomon's mean difference over steering-vectors': {min(lengths):.6f} to {max(lengths):.6f}.\n"
    )
    if max(abs(length - 1) for length in lengths) > LENGTH:
        missed.append(f"{title}: the mean differences have other lengths")
    return missed


def centred(differences: Array) -> Array:
    """First principal component of the differences about their mean."""
    component: Array = np.linalg.svd(differences - differences.mean(axis=0), full_matrices=False)[2][0]
    return component


def similarity(a: Array, b: Array) -> float:
    return float(a.astype(float) @ b.astype(float) / np.linalg.norm(a) / np.linalg.norm(b))


if __name__ == "__main__":
    sys.exit(main())
