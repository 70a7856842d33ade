"""A model that others trained, end to end: `gnomon steer` on stories260K with the files of examples/stories.

What must move is free words that are no form of the two words, in both directions, more than by random directions of equal
KL; and then the stories themselves, with all words for the two moods taken out of them.
"""

import html
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gnomon import LM, questions
from gnomon.bench import Rows, ask
from gnomon.bench.asking import labels
from gnomon.bench.measure import contrast_of
from gnomon.bench.settings import settings_from
from gnomon.bench.shift import shift
from gnomon.contrast import read_lines, read_pairs
from gnomon.dials import Dial, scaled_to_kl
from gnomon.methods import RandomDirection
from gnomon.runs import Run
from gnomon.stats import cluster_mean

pytestmark = pytest.mark.data

ROOT = Path(__file__).parents[2]
STORIES = ROOT / "examples" / "stories"
KL = 0.25
NEUTRAL = 64
RANDOM = 2
UNIT = "story beginnings"
# Every word of the two moods in every form: the two words, the answers, and what faces do.
GLAD = re.compile(
    r"\b(happ(y|ier|iest|ily|iness)|glad\w*|joy\w*|enjoy\w*|excit\w*|proud\w*|pride|cheer\w*|thank\w*|delight\w*"
    r"|pleas(ed|ing|ure)|smil\w*|laugh\w*|giggl\w*)\b",
    re.IGNORECASE,
)
UPSET = re.compile(
    r"\b(unhapp\w*|sad\w*|upset\w*|lonel\w*|alone|scar(e|ed|es|y|ing|ier)|worr\w*|ang(er|ry|rily)|afraid|sorr\w*|hurt\w*"
    r"|cry|cr(ied|ies|ying)|tears?|frown\w*)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def settings(public_data):
    files = {name: str(STORIES / f"{name}.txt") for name in ("templates", "suffixes")}
    model = public_data / "models" / "stories260K" / "hf"
    return settings_from(STORIES / "steer.toml", {"model": str(model), **files})


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory) -> Run:
    """The example as a user types it, with fewer methods, strengths and neutral texts."""
    root = tmp_path_factory.mktemp("runs")
    given = (
        f"--config {STORIES / 'steer.toml'} --model {settings.model} --root {root} --name stories "
        f"--methods mean-difference,pca,probe,random --strengths kl --sweep {KL} --neutral-samples {NEUTRAL} "
        "--device cpu --dtype float32"
    )
    subprocess.run([sys.executable, "-m", "gnomon", "steer", *given.split()], cwd=ROOT, check=True)
    return Run.open(root / "stories")


@pytest.fixture(scope="module")
def lm(settings) -> LM:
    return LM.load(settings.model, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def random_dials(lm, settings) -> list[Dial]:
    """Random directions at the block of the pairs, at the same KL on the same neutral text as the run's dials."""
    contrast = contrast_of(settings)
    states = read_pairs(lm, contrast.resolve(lm))
    neutral = lm.sample_neutral(NEUTRAL, seed=0)
    fitted = [RandomDirection().fit(lm, contrast, seed=seed, states=states) for seed in range(RANDOM)]
    return [scaled_to_kl(dial, lm, KL, neutral=neutral) for dial in fitted]


def test_the_files_give_no_answer_away() -> None:
    asked = questions.load(STORIES / "questions.csv")
    for question in asked.targets:
        assert all(GLAD.fullmatch(word) for word in question.classes["glad"])
        assert all(UPSET.fullmatch(word) for word in question.classes["upset"])
        assert not any(re.match("happ|sad|unhapp", w) for words in question.classes.values() for w in words)
    told = [
        *read_lines(STORIES / "templates.txt"),
        *read_lines(STORIES / "suffixes.txt"),
        *map(str, asked.prompts),
    ]
    assert not [text for text in told if GLAD.search(text) or UPSET.search(text)]


def test_the_preferred_dial_moves_other_words_both_ways_and_more_than_chance(run, lm, random_dials) -> None:
    headline = reading(run, "steering_f1")
    preferred = headline.data["preferred"]
    assert preferred != "random"
    assert not headline.headline.missing
    dial = rows_of(run, preferred)
    toward, away = shift([dial], unit=UNIT)
    print(f"\n{headline.sentence}\n{preferred} at KL {KL}: {toward} nats at +1, {away} nats at -1")
    assert toward.low > 0
    assert away.low > 0
    for seed, random in enumerate(random_dials):
        asked = rows_of(run, "random") if seed == 0 else ask_rows(lm, random)
        print(f"random {seed}:", *shift([asked], unit=UNIT), sep="  ")
        gaps = shift([dial], [asked], unit=UNIT)
        print(f"{preferred} over random {seed}:", *gaps, sep="  ")
        assert min(gap.low for gap in gaps) > 0


def test_the_stories_change_their_mood_in_all_the_other_words(run, lm, random_dials, public_data) -> None:
    beginnings, mood = stories_and_mood(public_data / "tinystories" / "tiny_stories.txt")
    clusters = np.repeat(np.arange(len(beginnings)), COPIES)

    def told(dial: Dial, alpha: float) -> dict[str, np.ndarray]:
        with dial.at(alpha, lm):
            texts = lm.generate(
                [text for text in beginnings for _ in range(COPIES)],
                max_new_tokens=40,
                temperature=1.0,
                seed=1,
            )
        return mood(texts)

    preferred = Dial.load(run.folder / "dial").bound(lm)
    at_rest, *turned = (told(preferred, alpha) for alpha in (0.0, 1.0, -1.0))
    randoms = [[told(dial, alpha) for alpha in (1.0, -1.0)] for dial in random_dials]
    for name, rest in at_rest.items():
        up, down = (side[name] for side in turned)
        swings = [up[name] - down[name] for up, down in randoms]
        differences = {
            "+1 over rest": up - rest,
            "rest over -1": rest - down,
            "+1 over -1": up - down,
            "+1 over -1, more than random": up - down - np.mean(swings, axis=0),
            **{f"random {seed}, +1 over -1": swing for seed, swing in enumerate(swings)},
        }
        found = {key: mean_over(value, clusters) for key, value in differences.items()}
        print(f"\n{name}, log-odds of a glad sentence; at rest {np.nanmean(rest):+.2f}")
        print(*(f"  {key}: {interval}" for key, interval in found.items()), sep="\n")
        for key, interval in found.items():
            assert key.startswith("random") or interval.low > 0, f"{name}, {key}: {interval}"


def test_the_report_shows_stories_of_both_moods(run) -> None:
    page = html.unescape((run.folder / "report.html").read_text(encoding="utf-8"))
    examples = [one for one in reading(run, "examples").generations if not one.figure]
    assert len(examples) == 4
    for example in examples:
        print(f"\n{example.prompt}", *(f"  {at:>2}: {text}" for at, text in example.texts.items()), sep="\n")
        assert example.texts["−1"] != example.texts["+1"]
        assert all(" ".join(text.split()) in " ".join(page.split()) for text in example.texts.values())


# -- what was asked ------------------------------------------------------------------------------------------------


def reading(run: Run, name: str):
    return next(one for one in run.readings if one.name == name)


def rows_of(run: Run, method: str) -> Rows:
    cell = run.load_cell("scored_rows/0/0")
    one = cell[cell.method == method]
    return Rows.of(one.label, one.cluster, [one[f"log_odds_{at}"] for at in range(3)])


def ask_rows(lm: LM, dial: Dial) -> Rows:
    asked = questions.load(STORIES / "questions.csv").targets
    return Rows.from_tables(labels(asked), ask(lm, asked, dial, (0.0, 1.0, -1.0)))


# -- the mood of a story, without the words for it -----------------------------------------------------------------

BEGINNINGS = 48
COPIES = 4


def stories_and_mood(file: Path):
    """Beginnings of stories, and a function from texts to two scores each, both in log-odds of a glad sentence.

    The classifier is a bag of words, learnt on sentences with words of one mood only, from which these words are removed;
    the first fifth of the text is held out of it, for the beginnings. The first score is the whole text's with the words
    removed, the second the mean over the sentences that never had one (NaN: none).
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline

    lines = file.read_text(encoding="utf-8").splitlines()
    held_out, learnt = lines[: len(lines) // 5], lines[len(lines) // 5 :]

    def examples(lines: list[str]) -> tuple[list[str], list[bool]]:
        kept = [s for line in lines for s in sentences(line) if bool(GLAD.search(s)) != bool(UPSET.search(s))]
        return [without(s) for s in kept], [bool(GLAD.search(s)) for s in kept]

    classifier = make_pipeline(
        TfidfVectorizer(min_df=3), LogisticRegression(class_weight="balanced", max_iter=1000)
    ).fit(*examples(learnt))
    unseen, truth = examples(held_out)
    area = roc_auc_score(truth, classifier.decision_function(unseen))
    print(f"\nmood without its words: AUC {area:.2f} on {len(truth)} held-out sentences")
    assert area > 0.7

    def mood(texts: list[str]) -> dict[str, np.ndarray]:
        clean = [[s for s in sentences(text) if not GLAD.search(s) and not UPSET.search(s)] for text in texts]
        return {
            "words removed": classifier.decision_function([without(text) for text in texts]),
            "sentences without such words": np.array(
                [classifier.decision_function(one).mean() if one else np.nan for one in clean]
            ),
        }

    opening = re.compile(r"(?:Once upon a time|One day)\b.{20,90}?[.!?](?=\s)")
    found = [match.group() for line in held_out if (match := opening.match(line))]
    plain = list(dict.fromkeys(text for text in found if not GLAD.search(text) and not UPSET.search(text)))
    return plain[:: len(plain) // BEGINNINGS][:BEGINNINGS], mood


def sentences(text: str) -> list[str]:
    return [part for part in re.split(r'(?<=[.!?])["\s]+', text) if re.search(r"\w", part)]


def without(text: str) -> str:
    return UPSET.sub(" ", GLAD.sub(" ", text))


def mean_over(values: np.ndarray, clusters: np.ndarray):
    known = ~np.isnan(values)
    return cluster_mean(values[known], clusters[known], unit=UNIT)
