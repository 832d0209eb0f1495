// The broadcast of npm's ws: what one client of a path says, all of them hear.
import { WebSocketServer } from 'ws'

const rooms = new Map()
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false, clientTracking: false })
server.on('listening', () => console.log(`listening on 127.0.0.1:${server.address().port}`))
server.on('connection', (socket, request) => {
  if (!rooms.has(request.url)) rooms.set(request.url, new Set())
  const room = rooms.get(request.url)
  room.add(socket)
  socket.on('close', () => room.delete(socket))
  socket.on('error', () => {})
  socket.on('message', (data) => {
    for (const other of room) other.send(data, { binary: false })
  })
})
