"""Cells that a spreadsheet must not run: how they are written, and how they are read again (OWASP, CSV injection)."""

import re

_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # Japanese programs take the wide signs too
# An apostrophe before such a sign is somebody's text: it gets one more, so that taking one away is always right.
_GUARDED = re.compile(f"'+[{re.escape(''.join(_STARTS))}]").match


def harmless(cell: str) -> str:
    """A cell that a spreadsheet shows and does not run: an apostrophe before what would begin a formula."""
    if cell.startswith(_STARTS) or (cell[:1] == "'" and _GUARDED(cell)):
        return f"'{cell}"
    return cell


def restored(cell: str) -> str:
    """What `harmless` was given. Only for tables known to be written with it: elsewhere the apostrophe may be meant."""
    return cell[1:] if cell[:1] == "'" and _GUARDED(cell) else cell
