"""Daphne as this project runs it, `manage.py serve`: WebSockets are not its own, HTTP is bounded.

Daphne's WebSocket engine (autobahn) and its one `send` for everything cost most of what a
delivery costs, and cannot do what this project promises. This package replaces the engine, and
puts bounds around HTTP. How it gets in, and why each piece exists:

`server.py`, the `Server` subclass that daphne's command line is given.
    - `ready_callable` runs when daphne has made its factories and listens, and before anything is
      accepted: the place to install the engine and to start the runtime.
    - `listen_success` keeps the listening ports, which the drain closes first.
    - `kill_all_applications` is what Twisted waits for before it stops. Daphne's own cancels
      every task, so clients see 1006 and nothing is cleaned up; ours drains (`drain.py`).
    - `handle_reply` waits while the reader of an answer is slow. Daphne's keeps all of it.
    - `log_action` writes one structured line for a request. Daphne's has the query string in it.

`channel.py`, an HTTP connection in which everything has a bound.
    - It reads heads itself (`heads.py`, pure and strict), since Twisted's own closes without an
      answer where a line is too long, and takes `chunked` beside `identity`.
    - Each phase of a connection has a deadline, looked at twice a second: Twisted's time-out
      begins anew with every byte.
    - `bodies.py` says how long a body may be and counts the bytes that are held, `admission.py`
      the connections, `answer.py` how long an answer waits for its reader.
    - A refusal (`refusals.py`) is followed by reading and dropping for a while, or the reset that
      closing causes would take it along.
    - What is sent ahead is bounded: Twisted reads on without end while an answer is not read.

`request.py`, a request over HTTP. Daphne's parses forms and spools bodies, both for nothing;
    ours stays in memory, which the channel has bounded, and reaches the application in pieces.

`upgrade.py`, the way in. Daphne validates a request and, for an upgrade, asks its WebSocket
    factory for a protocol and hands it the transport. `ConnectionFactory` stands in that place;
    `Request` tells it which request asks, so that the request need not be parsed again.

`handshake.py`, from that request to the library's answer and the application's scope.

`websocket.py`, one connection: events to the application, pings, closing.
    - It takes the HTTP channel's registration as producer off the transport (a second one raises)
      and takes over `rawDataReceived`, or frames sent along with the handshake would be lost.
    - Reading pauses while the application has many messages to handle: daphne queues without end.
    - Any progress, in either direction, counts as life, and pings go before what waits: a slow
      but living reader is not cut.
    - After a fault the write side is closed and the rest is read and dropped for a while. Closing
      at once, with bytes unread, resets the connection, and the close code would not arrive.

`parser.py`, from bytes to messages. The sans-I/O protocol of the `websockets` library decides;
    whole small frames, which are nearly all there are, take a short cut of thirty lines. Tests
    feed both the same random bytes and compare.

`socket_outbox.py`, what waits for the socket. While nothing does, an item goes to the kernel by
    one `socket.send`: through Twisted it would wait for the next turn of the loop. What the
    kernel leaves is given to the transport piece by piece as it asks (a pull producer), so that
    we know what has not been taken, can bound it, and can put a ping between. Applications get
    the outbox through `scope["extensions"]`; a publication's frames are encoded once and the same
    bytes object goes to every socket. TLS goes through the transport in the same way.

`dead_sockets.py`, what uvloop stops watching before Twisted has heard that the peer is gone.

`socket_reader.py`, reading past Twisted's reactor, which takes as long as a whole small echo.
    It stands in for two methods of the transport, so that pausing and closing reach it.

`drain.py`, the orderly end. `processes.py` and its neighbours, several processes on one socket.

What it leaves out: compression (deflate gains little on numbers and costs much), and HTTP/2
(a WebSocket begins as HTTP/1.1; put a proxy in front).
"""
