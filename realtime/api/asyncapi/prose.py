"""The little Markdown of the document's texts, as HTML."""

import re

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

_MARK = re.compile(r"(`[^`]+`|\*\*[^*]+\*\*)")
_BREAK = SafeString("_<wbr>")


def render_prose(text: str) -> SafeString:
    """Escaped text with `code` and **strong** words marked up."""
    return format_html_join("", "{}", ((_render(part),) for part in _MARK.split(text)))


def render_name(name: str) -> SafeString:
    """A long name that a narrow page may break at its underscores."""
    return format_html_join(_BREAK, "{}", ((part,) for part in name.split("_")))


def _render(part: str) -> str:
    if part.startswith("`"):
        return format_html("<code>{}</code>", part[1:-1])
    if part.startswith("**"):
        return format_html("<strong>{}</strong>", part[2:-2])
    return part
