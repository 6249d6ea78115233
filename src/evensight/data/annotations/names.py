"""From the names and ids in an annotation file to the classes of the objective: by name, and said aloud."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Collection, Hashable, Iterable, Mapping

from evensight.data.reading import plain_text
from evensight.errors import UserError, nearest, shown

logger = logging.getLogger(__name__)

_MOST_LINES = 100


def map_classes(found: Mapping[str, int], classes: tuple[str, ...] | None, where: str) -> dict[str, str]:
    """Maps the labels of an annotation file to the objective's classes by name.

    Names are compared in Unicode's composed form (NFC), else exactly; rows of other labels are set aside and reported
    by `checks.usable_rows`, as are names that differ only in case or spaces.

    Args:
        found: Label as the file writes it -> how many images or objects have it.
        classes: The objective's, or None where every label is a class.
        where: The file, for sentences.

    Returns:
        Label -> class, of the labels that are used.

    Raises:
        UserError: No label is a class of the objective.
    """
    composed = {label: unicodedata.normalize("NFC", label) for label in found}
    mapping = {label: name for label, name in composed.items() if classes is None or name in classes}
    if found and not mapping:
        labels = ", ".join(shown(label) for label in sorted(found)[:10]) + (", ..." if len(found) > 10 else "")
        wanted = ", ".join(classes or ())
        raise UserError(f"{where}: none of its labels is a class of the objective ({wanted}); found: {labels}.")
    return mapping


def log_mapping(
    found: Mapping[str, int], mapping: Mapping[str, str], classes: Collection[str] | None, where: str
) -> None:
    """Logs what `map_classes` made of the labels, one a line. For when the file has been read and nothing is wrong."""
    if found:
        logger.info("%s: labels by name\n%s", where, _table(found, mapping, classes))


def _table(found: Mapping[str, int], mapping: Mapping[str, str], classes: Collection[str] | None) -> str:
    ordered = sorted(found, key=lambda label: (label not in mapping, -found[label], label))
    width = max((len(shown(label)) for label in ordered[:_MOST_LINES]), default=0)
    lines = []
    for label in ordered[:_MOST_LINES]:
        closest = None if label in mapping else nearest(label, classes or ())
        hint = f" (perhaps {closest!r})" if closest else ""
        target = repr(mapping[label]) if label in mapping else f"not used{hint}"
        lines.append(f"  {shown(label):{width}} -> {target} ({found[label]:,})")
    more = len(ordered) - _MOST_LINES
    return "\n".join([*lines, f"  ... and {more:,} more"] if more > 0 else lines)


def names_of(pairs: Iterable[tuple[Hashable, str]], what: str, where: str) -> dict[Hashable, str]:
    """Returns id -> name of what a file defines.

    Args:
        pairs: Id and name of each definition, in the file's order.
        what: What is defined, e.g. ``"category"``.
        where: The file, for sentences.

    Raises:
        UserError: An id is defined twice, or two ids have one name.
    """
    names: dict[Hashable, str] = {}
    ids: dict[str, Hashable] = {}
    for number, name in pairs:
        composed = unicodedata.normalize("NFC", plain_text(name, where))
        if number in names:
            raise UserError(
                f"{where}: {what} id {shown(number)} is used twice, for {shown(names[number])} and {shown(name)}."
            )
        if composed in ids:
            raise UserError(
                f"{where}: {what} {shown(name)} has two ids, {shown(ids[composed])} and {shown(number)}; "
                "a name stands for one."
            )
        names[number], ids[composed] = name, number
    return names


def known(number: Hashable, defined: Collection[Hashable], what: str, where: str) -> None:
    """Checks an id that is referred to.

    Raises:
        UserError: It is defined nowhere in the file.
    """
    if number not in defined:
        few = ", ".join(sorted(map(repr, defined))[:10]) + (", ..." if len(defined) > 10 else "")
        raise UserError(f"{where}: {what} id {shown(number)} is defined nowhere; defined are: {few or 'none'}.")
