import { connect, createServer } from 'node:net'

/** For a program that can not be told to take any. */
export const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })

/** Until somebody listens there. */
export async function listens(port: number): Promise<void> {
  const tries = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1')
      socket.once('error', () => resolve(false))
      socket.once('connect', () => {
        socket.destroy()
        resolve(true)
      })
    })
  while (!(await tries())) await new Promise((resolve) => setTimeout(resolve, 50))
}
