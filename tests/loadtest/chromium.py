"""Headless Chromium: what a page becomes once it is laid out."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

LIMIT_S = 60
MEASURE = """
<script>
const boxes = selector => [...document.querySelectorAll(selector)].map(element => {
  const box = element.getBoundingClientRect();
  return {left: box.left, right: box.right, top: box.top, bottom: box.bottom, text: element.textContent};
});
const measured = {
  page_width: document.documentElement.clientWidth,
  needed_width: document.documentElement.scrollWidth,
  charts: [...document.querySelectorAll("figure")].map(figure => ({
    title: figure.querySelector("figcaption").firstChild.textContent.trim(),
    frame: figure.querySelector("svg").getBoundingClientRect().toJSON(),
    drawn: [...figure.querySelectorAll("polyline, circle")].map(element => ({
      box: element.getBoundingClientRect().toJSON(),
      color: getComputedStyle(element.tagName === "circle" ? element.parentNode : element)[
        element.tagName === "circle" ? "fill" : "stroke"],
    })),
    labels: [...figure.querySelectorAll("svg text:not(.label):not(.mark)")].map(text => ({
      text: text.textContent, box: text.getBoundingClientRect().toJSON()})),
  })),
};
document.documentElement.innerHTML = "<body><pre id=measured></pre></body>";
document.getElementById("measured").textContent = JSON.stringify(measured);
</script>
"""


def executable() -> str:
    """Skips the test where there is no Chromium; in CI, which has to bring one, it fails."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to render the report: apt-get install chromium")
        pytest.skip("there is no chromium here: apt-get install chromium")
    return found


def measured(page: Path, width: int = 1280) -> dict[str, Any]:
    """Where the page's charts and their parts are, in pixels."""
    instrumented = page.with_name(f"measured-{width}.html")
    instrumented.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    printed = _run(f"--window-size={width},3000", "--dump-dom", instrumented.as_uri())
    _, _, rest = printed.partition('<pre id="measured">')
    result: dict[str, Any] = json.loads(rest.partition("</pre>")[0].replace("&amp;", "&").replace("&lt;", "<"))
    return result


def screenshot(page: Path, image: Path) -> None:
    _run("--window-size=1280,2600", "--hide-scrollbars", f"--screenshot={image}", page.as_uri())


def _run(*options: str) -> str:
    """No sandbox, because CI is root in a container; no network, because the page must not need any."""
    command = [executable(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--proxy-server=127.0.0.1:9", *options]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
