"""`GET /`: a page to drop a picture on. It is one file, fetches nothing from elsewhere and knows nothing by itself."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

_TEMPLATE = Path(__file__).parent / "templates" / "serve.html"


def html() -> str:
    """Returns the page. What it shows it asks of this server, with the token where one is needed."""
    return _TEMPLATE.read_text(encoding="utf-8")


def _digest(tag: str) -> str:
    found = re.search(rf"<{tag}>(.*?)</{tag}>", html(), re.DOTALL)
    assert found is not None
    return base64.b64encode(hashlib.sha256(found[1].encode("utf-8")).digest()).decode("ascii")


# Its own script and style, named by their digests, and this server: nothing else is run, loaded or asked.
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src 'sha256-{_digest('script')}'; style-src 'sha256-{_digest('style')}'; "
        "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
