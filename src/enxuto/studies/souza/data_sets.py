"""Which published data set some classes are: numbers of Souza 2020 stand beside results on the same data only."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["published_name"]

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
    "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
    "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
    "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
    "trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
_PUBLISHED = {"CIFAR-10": _CIFAR10, "CIFAR-100": _CIFAR100}


def published_name(class_names: Sequence[str] | None) -> str | None:
    """Return `CIFAR-10` or `CIFAR-100` where the classes are theirs, in any order; else None.

    Case, spaces and hyphens do not matter: editions write `lawn_mower` and `Lawn mower`.
    """
    if class_names is None:
        return None
    given = sorted(name.strip().lower().replace(" ", "_").replace("-", "_") for name in class_names)
    return next((title for title, names in _PUBLISHED.items() if given == sorted(names.split())), None)
