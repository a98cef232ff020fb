"""The load generator: raw sockets in one epoll loop, in a process of its own.

A subscriber costs it one `recv_into` and one look into a list for whatever arrived, however many
messages that was: all subscribers get the same bytes, so how many messages have come follows
from how many bytes have. One of them is decoded in full, and at the end of each run the totals
of all have to agree to the byte.
"""
