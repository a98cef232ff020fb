"""Secrets for a development checkout: made once, kept in a folder that git ignores."""

import os
import secrets
from pathlib import Path


def load_secret(name: str, folder: Path) -> str:
    """The secret of that name; the first call makes it, readable by this user alone."""
    path = folder / name
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f".{name}.{os.getpid()}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(64))
        try:
            os.link(draft, path)  # atomic: of two processes at once, one wins and both read it
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()
