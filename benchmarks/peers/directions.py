"""The directions that steering-vectors and repeng find: python directions.py JOB.json DIRECTIONS.npz.

Runs in the peers' environment and knows nothing of gnomon. The job names a model's folder and the contrast pairs;
the result holds, besides the directions `[block, d_model]`, what is needed to see that both environments compute
the same model: every prompt's token ids, and the logits behind some of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from repeng import ControlVector, DatasetEntry
from steering_vectors import mean_aggregator, pca_aggregator, train_steering_vector
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

BATCH = 32


def main(job: Path, result: Path) -> None:
    torch.set_num_threads(1)
    np.random.seed(0)  # repeng's PCA is scikit-learn's randomised one, which draws from here
    told = json.loads(job.read_text("utf-8"))
    pairs = [(toward, away) for toward, away in told["pairs"]]
    model = AutoModelForCausalLM.from_pretrained(told["model"], dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(told["model"])
    blocks = model.config.num_hidden_layers

    prompts = [text for pair in pairs for text in pair]
    ids = [tokenizer(text)["input_ids"] for text in prompts]
    with torch.no_grad():
        logits = [model(torch.tensor([row])).logits[0, -1] for row in ids[: told["logits"]]]

    found = {}
    for name, aggregator in (("mean", mean_aggregator()), ("pca", pca_aggregator())):
        vector = train_steering_vector(model, tokenizer, pairs, aggregator=aggregator, batch_size=BATCH)
        directions = [vector.layer_activations[block].numpy() for block in range(blocks)]
        found[f"steering_vectors_{name}"] = np.stack(directions)
    for method in ("pca_center", "pca_diff"):
        control = ControlVector.train(
            model,
            tokenizer,
            [DatasetEntry(toward, away) for toward, away in pairs],
            hidden_layers=list(range(blocks)),
            batch_size=BATCH,
            method=method,
        )
        found[f"repeng_{method}"] = np.stack([control.directions[block] for block in range(blocks)])
    np.savez(
        result,
        ids=np.concatenate(ids),
        lengths=[len(row) for row in ids],
        logits=torch.stack(logits).numpy(),
        **found,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
