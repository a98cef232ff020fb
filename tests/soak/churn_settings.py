"""The project's settings as in production: where DEBUG is on, Django keeps thousands of queries."""

from project.settings import *  # noqa: F403

DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
