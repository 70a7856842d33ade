"""Whatever JSON can say comes back from the disk as it went in."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.runs import Run, storage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_json_comes_back_as_it_went_in(value: object) -> None:
    assert storage.from_json(storage.to_json(value), Path("x")) == value


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_any_config_round_trips_and_resumes(
    tmp_path_factory: pytest.TempPathFactory, config: dict[str, object]
) -> None:
    with Run.create(config, tmp_path_factory.mktemp("runs")) as run:
        assert Run.open(run.folder).config == config
    with Run.resume_or_create(config, run.folder) as again:
        assert again.config == config
