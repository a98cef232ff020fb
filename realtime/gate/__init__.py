"""What stands before Django and before every handshake: who may go on, how many, and who waits.

Nothing that is refused here has cost a thread, a look at the database or a session. `tokens.py`
turns away addresses that try tokens, `requests.py` bounds HTTP requests, and `lanes.py` has the
threads that those run in.
"""
