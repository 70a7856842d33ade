"""What an estimate counts, and that a training is timed by a few of its steps and not run to its end."""

from dataclasses import dataclass

import pytest

from gnomon.bench import estimating
from gnomon.bench.estimating import Estimate, estimate, training_seconds
from gnomon.bench.settings import Settings


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(estimating.time, "perf_counter", lambda: self.now)


@dataclass
class Training:
    """Ten seconds of preparation, then steps of two seconds; the first ten take a second more each."""

    clock: Clock
    steps: int
    restarts: int = 1
    made: int = 0
    trains: bool = True
    name: str = "training"

    def fit(self, lm, contrast, *, seed=0, states=None, folder=None, progress=None):
        assert folder is None
        with progress("writing texts", 40) as advance:
            self.clock.now += 10
            advance(40)
        with progress("training it", self.steps) as advance:
            advance(0)
            while self.made < self.steps:
                for _ in range(min(10, self.steps - self.made)):
                    self.clock.now += 3 if self.made < 10 else 2
                    self.made += 1
                advance(10, "loss 1.0")


def test_a_training_is_stopped_once_its_steps_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    training = Training(clock, steps=500)
    assert training_seconds(training, None, None, None) == 10 + 10 * 3 + 490 * 2
    assert training.made == 20


def test_restarts_train_again(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(Clock(monkeypatch), steps=500, restarts=3)
    assert training_seconds(training, None, None, None) == 3 * (10 + 10 * 3 + 490 * 2)


def test_a_training_shorter_than_the_trial_is_timed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(Clock(monkeypatch), steps=5)
    assert training_seconds(training, None, None, None) == 10 + 5 * 3
    assert training.made == 5


def test_a_training_that_fails_is_not_taken_for_one_that_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Training):
        def fit(self, *given, **named):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        training_seconds(Broken(Clock(monkeypatch), steps=5), None, None, None)


def test_an_estimate_with_a_trained_method_says_what_the_training_takes(small_settings: Settings) -> None:
    without = estimate(small_settings)
    assert without.training == 0
    assert "training" not in without.sentence
    trained = small_settings.model_copy(
        update={"methods": (*small_settings.methods, "shift"), "method_settings": {"shift": SMALL}}
    )
    found = estimate(trained)
    assert found.training > 0
    assert found.minutes > found.training
    assert found.sentence.endswith("of it training")
    assert (found.forwards, found.tokens) != (without.forwards, without.tokens)


SMALL = {
    "steps": 40,
    "rank": 4,
    "rows": 4,
    "max_texts": 16,
    "continued": 0,
    "edited": (0, 1),
    "targets": (2,),
}


def test_the_sentence_says_minutes_or_seconds() -> None:
    assert (
        Estimate(1200, 34000, 2.0, 0.5).sentence
        == "about 1,200 sequences, 34,000 tokens, 2.0 minutes on this machine, 30 seconds of it training"
    )
