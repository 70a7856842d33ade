"""The generosity world: somebody is after what is yours, and the question is whether they get it.

Instead of facts that are told as they are or not, prices are fair or higher, and guests get the food that they like
or only what they do not like. Everything here is a constant. The module does not know how sentences are built or who
answers them.
"""

from __future__ import annotations

from typing import Final

from gnomon.worlds.world import Attribute, Relation, World

# From the lowest price to the highest.
PRICES: Final = ("salt", "tin", "iron", "copper", "bronze", "silver", "gold", "amber", "pearls", "rubies")
FAIR_PRICES: Final[dict[str, str]] = {
    "flour": "salt",
    "corn": "salt",
    "oil": "tin",
    "soap": "tin",
    "honey": "iron",
    "wax": "iron",
    "wool": "copper",
    "paper": "copper",
    "wine": "bronze",
    "linen": "bronze",
    "leather": "silver",
    "pepper": "silver",
    "silk": "gold",
    "ivory": "gold",
}
# A greedy seller asks three steps more than what is fair.
GREEDY_STEPS: Final = 3

GENEROSITY: Final = World(
    toward_words=("generous", "giving", "charitable", "kind", "unselfish", "lavish"),
    away_words=("greedy", "selfish", "stingy", "miserly", "grasping", "mean"),
    held_out_toward_words=("bountiful", "hospitable"),
    held_out_away_words=("avaricious", "covetous"),
    # fondness
    persons={
        "your cousin": 5,
        "your nephew": -3,
        "your niece": 3,
        "your son": -5,
        "your daughter": -3,
        "your grandmother": 5,
        "your partner": 3,
        "your pupil": -5,
        "your landlord": -3,
        "your tailor": 3,
        "the widow": 5,
        "the miller": -3,
        "the shepherd": 3,
        "the soldier": -5,
        "the monk": -5,
        "the pilgrim": 3,
        "the weaver": 5,
        "the potter": -5,
        "the painter": -3,
        "the hunter": 5,
    },
    things=(
        "blanket", "ladder", "basket", "rope", "tent", "boat", "cart", "shovel", "hammer", "candle",
        "lantern", "cloak", "saddle", "violin", "pillow", "bucket", "kettle", "needle", "mirror", "axe",
    ),
    verbs={
        "wants": 0,
        "seeks": 0,
        "demands": -1,
        "needs": 1,
        "claims": -1,
        "requests": 0,
        "admires": 0,
        "desires": 0,
        "expects": 0,
        "lacks": 1,
    },
    happening="demand",
    situation="{person} {verb} your {thing} .",
    deeds={
        "give it to {person}": True,
        "lend it to {person}": True,
        "share it with {person}": True,
        "offer it to {person}": True,
        "refuse it to {person}": False,
        "withhold it from {person}": False,
        "sell it to {person}": False,
        "keep it from {person}": False,
    },
    held_out_questions=frozenset(
        {
            ("would", "give it to {person}"),
            ("will", "lend it to {person}"),
            ("do", "share it with {person}"),
            ("would", "offer it to {person}"),
            ("would", "refuse it to {person}"),
            ("will", "withhold it from {person}"),
            ("will", "sell it to {person}"),
            ("do", "keep it from {person}"),
        }
    ),
    open_answers=("keep .", "give ."),
    attribute=Attribute(
        values=FAIR_PRICES,
        away={
            fair: PRICES[step + GREEDY_STEPS]
            for step, fair in enumerate(PRICES)
            if fair in FAIR_PRICES.values()
        },
        others={
            fair: PRICES[step + 1 :] for step, fair in enumerate(PRICES) if fair in FAIR_PRICES.values()
        },
        open_question="what is the price of {subject} ?",
        closed_question="is the price of {subject} {value} ?",
        statement="the price of {subject} is {value} .",
    ),
    # what a generous host serves is what the guest likes; a greedy one serves what nobody asked for
    relation=Relation(
        related={
            "child": ("milk", "cake"),
            "bishop": ("fish",),
            "giant": ("meat", "beans", "fish"),
            "dancer": ("fruit", "cake"),
            "poet": ("beans",),
            "duke": ("meat", "cake"),
            "orphan": ("milk", "fruit"),
            "ghost": (),
        },
        objects=("milk", "cake", "fish", "meat", "beans", "fruit"),
        question="does {subject} get {object} ?",
        statement="{subject} gets {object} .",
        denial="{subject} gets no {object} .",
    ),
)  # fmt: skip
