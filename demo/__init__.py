"""What the server can do, shown: a page, and a feed of this machine's own metrics.

It uses only the public API of `realtime`, as any project would.
"""
