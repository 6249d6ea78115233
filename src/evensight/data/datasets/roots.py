"""Where the images of the data sets that evensight knows by name are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from evensight.data.reading import existing_root
from evensight.errors import UserError

VARIABLE = "EVENSIGHT_DATA"
# A clone has its shared images beside it: <clone>/../shared/data.
_BESIDE = Path(__file__).resolve().parents[5] / "shared" / "data"


def known_root(root: str | None, name: str, holds: tuple[str, ...], key: str = "data.root") -> Path:
    """Returns the folder of a data set: `root`, else ``name`` under EVENSIGHT_DATA, else beside the clone.

    Args:
        root: The value of `key`; the data set's own folder, or the one that holds it.
        name: Folder of the data set under a folder of several.
        holds: Files or folders it must hold.
        key: The setting that names the folder, for the sentence.

    Raises:
        UserError: It is nowhere, or lacks something; says what to set.
    """
    if root:
        given = existing_root(root, key)
        folder, named_by = (given / name if (given / name).is_dir() else given), key
    elif os.environ.get(VARIABLE):
        folder, named_by = existing_root(os.environ[VARIABLE], VARIABLE) / name, VARIABLE
    elif (_BESIDE / name).is_dir():
        folder, named_by = _BESIDE / name, key
    else:
        raise UserError(
            f"{key} is not set and the images of {name} are not here: name the folder that holds "
            f"{', '.join(holds)} with {key}=<folder>, or set {VARIABLE} to the folder that holds {name}/."
        )
    missing = [part for part in holds if not (folder / part).exists()]
    if missing:
        raise UserError(
            f"{named_by}: {folder} has no {' and no '.join(missing)}; a folder with {', '.join(holds)} is needed, "
            f"named by {key}=<folder>, or as {name}/ in the folder {VARIABLE} names."
        )
    return folder.resolve()
