"""How a browser is brought to the app without the address on a command line, which every account can read.

The browser opens a file that only this account can read. It leads to an address that is good for one visit, and that
one leads to the app. Two steps, because a browser calls whatever comes from a file a stranger, and the app's own
address takes none.
"""

from __future__ import annotations

import html
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = ".browser"


def page_leading_to(address: str) -> str:
    """A page of HTML that goes to ``address`` by itself, and says nobody where it came from."""
    there = html.escape(address)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0; url={there}"><title>mmms</title><a href="{there}">Open the app</a>\n'
    )


@contextmanager
def private_page(content: str, out: Path) -> Iterator[Path]:
    """A page that only this account can read, while the context lasts. Raises ``OSError``.

    It lies in the folder of results, which one app has at a time: a browser that snap confines reads what a person has
    at home, and neither the system's folder for temporary files nor hidden folders there.
    """
    folder = out.absolute() / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # of an app that was killed; no link is followed
    folder.mkdir(mode=0o700)
    try:
        file = folder / "open.html"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
        yield file
    finally:
        shutil.rmtree(folder, ignore_errors=True)
