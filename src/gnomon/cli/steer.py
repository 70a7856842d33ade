"""`gnomon steer`: the main job, from two words to a measured dial."""

from __future__ import annotations

from gnomon.bench.settings import Settings
from gnomon.cli.estimating import announce, show_estimate
from gnomon.cli.options import AsJson, EstimateOnly, Quick, measuring
from gnomon.cli.output import only_json, show_run

EXAMPLE = (
    "Example: gnomon steer --model touchstone:honesty --toward honest --away dishonest "
    "--method shift --set shift.steps=200 --quick"
)


@measuring
def steer(
    settings: Settings, quick: Quick = False, estimate: EstimateOnly = False, json: AsJson = False
) -> None:
    """Find a dial between two words, turn it, and measure what moved.

    Every option is also a name in the --config file and an environment variable (GNOMON_MODEL, GNOMON_KL, ...).
    """
    chosen = settings.quick() if quick else settings
    if estimate:
        show_estimate([chosen], as_json=json)
        return
    announce(chosen)
    with only_json(json):
        from gnomon import bench

        run = bench.steer(chosen)
    show_run(run, as_json=json)
