"""`gnomon bench`: the same measurement on several models and seeds, in one table."""

from __future__ import annotations

from typing import Annotated

import typer

from gnomon.bench.settings import Settings
from gnomon.cli.estimating import announce, show_estimate
from gnomon.cli.options import AsJson, EstimateOnly, Quick, measuring
from gnomon.cli.output import only_json, show_run

EXAMPLE = (
    "Example: gnomon bench --model touchstone:honesty --model ./my-model --methods probe,pca --seeds 0,1,2"
)

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        envvar="GNOMON_MODEL",
        show_envvar=False,
        help="a Hugging Face id, a folder, or touchstone:NAME; give it once per model",
    ),
]


@measuring
def bench(
    settings: Settings,
    model: Models = None,
    quick: Quick = False,
    estimate: EstimateOnly = False,
    json: AsJson = False,
) -> None:
    """Compare methods on one or several models.

    Every option is also a name in the --config file and an environment variable (GNOMON_MODEL, GNOMON_KL, ...).
    """
    models = tuple(model or [settings.model])
    chosen = settings.quick() if quick else settings
    if estimate:
        show_estimate([chosen.model_copy(update={"model": name}) for name in models], as_json=json)
        return
    announce(chosen, models)
    with only_json(json):
        from gnomon import bench as room

        run = room.bench(chosen, models)
    show_run(run, as_json=json)
