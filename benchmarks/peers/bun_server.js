// Bun's own WebSocket server (uWebSockets, C++), with its publish and subscribe.
const port = Number(process.argv[2]);

const server = Bun.serve({
  port,
  hostname: "127.0.0.1",
  fetch(request, server) {
    const [, kind, name] = new URL(request.url).pathname.split("/").filter(Boolean);
    if (server.upgrade(request, { data: { kind, name } })) return undefined;
    return new Response("a WebSocket is served here", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 600,
    sendPings: false,
    maxPayloadLength: 64 * 1024 * 1024,
    open(socket) {
      if (socket.data.kind === "broadcast") socket.subscribe(socket.data.name);
    },
    message(socket, message) {
      if (socket.data.kind === "echo") socket.send(message);
      else server.publish(socket.data.name, message);
    },
  },
});
