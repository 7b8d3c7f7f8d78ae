"""Pages as a browser shows them, and the data they hold."""

import json
import re
import shutil
import time

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def embedded(page: str) -> tuple[str, dict]:
    """The data of a page, as it stands there and as it is read."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return found[1], json.loads(found[1])


def until(page, expression, seconds=20):
    """Playwright's own way would need a page that lets it run texts as scripts."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, (expression, page.inner_text("body")[:1000], page.said)
        page.wait_for_timeout(50)
