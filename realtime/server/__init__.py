"""Daphne as this project runs it: `manage.py serve`."""
