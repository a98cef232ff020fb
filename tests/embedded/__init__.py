"""The package in projects of somebody else: Django's own users, sessions and settings of REST."""
