"""The page as it is served: demo/views.py and its template and static files."""

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.urls import reverse


class Tags(HTMLParser):
    """Collects the start tags of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def tags(client):
    response = client.get(reverse("home"))
    assert response.status_code == 200  # without a sign-in
    return Tags(response.text).found


def test_the_page_needs_no_inline_script_or_style(tags):
    for tag, attributes in tags:
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
        assert not any(name == "style" or name.startswith("on") for name in attributes)


def test_all_that_the_page_loads_comes_from_this_server_and_exists(tags):
    loaded = [attrs.get("src") or attrs.get("href") for _, attrs in tags]
    loaded = [url for url in loaded if url and not url.startswith("#")]
    assert len(loaded) >= 4
    for url in loaded:
        assert url.startswith(static(""))
        assert finders.find(url.removeprefix(static("")))


def test_every_field_has_a_label(tags):
    labelled = {attrs.get("for") for tag, attrs in tags if tag == "label"}
    fields = [attrs["id"] for tag, attrs in tags if tag in ("input", "select") and "id" in attrs]
    assert fields
    assert set(fields) <= labelled


VENDORED = [
    Path(finders.find("demo/vendor/uplot/README.md")).parent,
    Path(finders.find("demo/vendor/inter/README.md")).parent,
    Path(__file__).parent / "vendor" / "axe",
]


@pytest.mark.parametrize("folder", VENDORED, ids=lambda folder: folder.name)
def test_vendored_files_are_those_that_their_readme_names(folder):
    sums = re.findall(r"`(\S+)` \| `(\w{64})`", (folder / "README.md").read_text())
    names = {name for name, _ in sums}
    assert names == {path.name for path in folder.iterdir()} - {"README.md"}
    assert "LICENSE" in names
    for name, expected in sums:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected


def test_the_content_policy_of_the_page_allows_its_own_origin_and_no_inline_code(client):
    policy = client.get(reverse("home"))["Content-Security-Policy"]
    directives = {name: sources for name, *sources in map(str.split, policy.split("; "))}
    assert directives["default-src"] == ["'none'"]
    assert directives["script-src"] == directives["style-src"] == ["'self'"]
    assert directives["connect-src"] == ["'self'", "ws://testserver"]
    assert directives["frame-ancestors"] == ["'none'"]
